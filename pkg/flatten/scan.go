package flatten

import "bytes"

// The functions here read JSON that is known to be valid.

// members takes an object apart.
func members(object []byte) []Member {
	var list []Member
	for i := inside(object); object[i] != '}'; {
		end := value(object, i)
		m := Member{Name: object[i:end]}
		i = space(object, space(object, end)+1) // behind the colon
		end = value(object, i)
		m.Value = object[i:end]
		list = append(list, m)
		i = next(object, end)
	}
	return list
}

// elements takes an array apart.
func elements(array []byte) [][]byte {
	var list [][]byte
	for i := inside(array); array[i] != ']'; {
		end := value(array, i)
		list = append(list, array[i:end])
		i = next(array, end)
	}
	return list
}

// inside is the place behind the opening bracket.
func inside(text []byte) int { return space(text, space(text, 0)+1) }

// next is the place of the next member or element, or of the closing bracket.
func next(text []byte, i int) int {
	if i = space(text, i); text[i] == ',' {
		i = space(text, i+1)
	}
	return i
}

func space(text []byte, i int) int {
	for text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t' {
		i++
	}
	return i
}

// value is the end of the value that begins at i.
func value(text []byte, i int) int {
	switch text[i] {
	case '"':
		return quoted(text, i)
	case '{', '[':
		for depth := 0; ; {
			switch text[i] {
			case '"':
				i = quoted(text, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(text) && text[i] != ',' && text[i] != '}' && text[i] != ']' && text[i] > ' ' {
		i++
	}
	return i
}

// quoted is the end of the string that begins at i.
func quoted(text []byte, i int) int {
	for i++; ; {
		quote := bytes.IndexByte(text[i:], '"')
		slash := bytes.IndexByte(text[i:i+quote], '\\')
		if slash < 0 {
			return i + quote + 1
		}
		i += slash + 2
	}
}
