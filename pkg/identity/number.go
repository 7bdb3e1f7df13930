package identity

import (
	"bytes"
	"math/big"
	"strconv"
)

// Bounds of numbers. Any other spelling of a number is hashed as plain digits, if these are few,
// else as digits and an exponent. An exponent of absurd length is left as it is written, so that a
// number costs no more than its length.
const (
	plainDigits    = 24
	exactDigits    = 15 // of an exponent that is added to without a thought
	exponentDigits = 100
)

// scalar gives the text of null, true, false or a number that stands for all of its spellings.
// False: it is none of them.
func (s *scanner) scalar(text []byte) ([]byte, bool) {
	if len(text) == 0 {
		return nil, false
	}
	switch text[0] {
	case 'n', 't', 'f':
		return text, string(text) == "null" || string(text) == "true" || string(text) == "false"
	}
	if digits(text) == len(text) && len(text) <= plainDigits && (text[0] != '0' || len(text) == 1) {
		return text, true // most are such
	}
	n, ok := parse(text)
	switch {
	case !ok:
		return nil, false
	case s.former || n.plain():
		return text, true
	}
	return s.spell(n, text), true
}

// numeral is a number as RFC 8259, section 6, has it, in parts.
type numeral struct {
	negative                  bool
	whole, fraction, exponent []byte // the exponent with its sign
}

// plain reports whether a number is spelled as it is hashed: an integer that is not longer than
// most.
func (n *numeral) plain() bool {
	return len(n.fraction)+len(n.exponent) == 0 && len(n.whole) <= plainDigits && (!n.negative || n.whole[0] != '0')
}

func parse(text []byte) (n numeral, ok bool) {
	if text[0] == '-' {
		n.negative, text = true, text[1:]
	}
	whole := digits(text)
	if whole == 0 || (whole > 1 && text[0] == '0') {
		return n, false
	}
	n.whole, text = text[:whole], text[whole:]
	if len(text) > 0 && text[0] == '.' {
		fraction := digits(text[1:])
		if fraction == 0 {
			return n, false
		}
		n.fraction, text = text[1:1+fraction], text[1+fraction:]
	}
	if len(text) > 0 && text[0]|0x20 == 'e' {
		sign := 1
		if len(text) > 1 && (text[1] == '+' || text[1] == '-') {
			sign = 2
		}
		exponent := digits(text[sign:])
		if exponent == 0 {
			return n, false
		}
		n.exponent, text = text[1:sign+exponent], text[sign+exponent:]
	}
	return n, len(text) == 0
}

// spell writes a number in the one way that is hashed, exactly. Its text stays valid for this
// record.
func (s *scanner) spell(n numeral, text []byte) []byte {
	if len(n.exponent) == 0 && len(n.whole) <= plainDigits && len(bytes.TrimRight(n.fraction, "0")) == 0 { // 0.0 is in each message
		if n.whole[0] == '0' || !n.negative {
			return n.whole
		}
		return text[:1+len(n.whole)]
	}
	mark := len(s.scratch)
	if n.negative {
		s.scratch = append(s.scratch, '-')
	}
	start := len(s.scratch)
	s.scratch = append(append(s.scratch, n.whole...), n.fraction...)
	significant := bytes.TrimRight(bytes.TrimLeft(s.scratch[start:], "0"), "0")
	zeros := len(n.whole) - len(bytes.TrimRight(s.scratch[start:], "0")) // behind the last digit that is none, or digits behind the point
	if len(significant) == 0 {
		s.scratch = append(s.scratch[:mark], '0')
		return s.scratch[mark:]
	}
	s.scratch = s.scratch[:start+copy(s.scratch[start:], significant)]
	exponent := bytes.TrimLeft(n.exponent, "+-0")
	minus := bytes.HasPrefix(n.exponent, []byte{'-'})
	switch {
	case len(exponent) > exponentDigits:
		s.scratch = append(s.scratch[:mark], text...)
	case len(exponent) > exactDigits:
		s.scratch = append(append(s.scratch, 'e'), sum(exponent, minus, zeros)...)
	default:
		e := zeros + integer(exponent, minus)
		if e >= 0 && e <= plainDigits-len(significant) {
			s.scratch = append(s.scratch, "000000000000000000000000"[:e]...)
			break
		}
		s.scratch = strconv.AppendInt(append(s.scratch, 'e'), int64(e), 10)
	}
	return s.scratch[mark:len(s.scratch):len(s.scratch)]
}

// integer reads an exponent of few digits.
func integer(digits []byte, minus bool) (n int) {
	for _, c := range digits {
		n = 10*n + int(c-'0')
	}
	if minus {
		return -n
	}
	return n
}

// sum adds to an exponent of many digits.
func sum(digits []byte, minus bool, by int) string {
	n, _ := new(big.Int).SetString(string(digits), 10)
	if minus {
		n.Neg(n)
	}
	return n.Add(n, big.NewInt(int64(by))).String()
}

// digits counts the digits that text begins with.
func digits(text []byte) (n int) {
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return n
}
