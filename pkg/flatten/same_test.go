package flatten_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/flatten"
)

// written is all that a caller gets to see of rows.
func written(call func(emit func(number int, r flatten.Row) error) error) string {
	var b strings.Builder
	err := call(func(number int, r flatten.Row) error {
		fmt.Fprintf(&b, "%d %d %s %v\n", number, r.Index, r.JSON, r.Err)
		return nil
	})
	fmt.Fprint(&b, err)
	return b.String()
}

// compare makes rows of a text in both ways.
func compare(t interface {
	Helper()
	Fatalf(string, ...any)
}, o flatten.Options, text []byte,
) {
	t.Helper()
	if err := o.Report(text, func(int, flatten.Row) error { return nil }); errors.Is(err, flatten.ErrTooMany) {
		return // the slow way knows no bounds
	}
	same := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Fatalf("%s of %q:\n%s\nwant\n%s", what, text, got, want)
		}
	}
	same("Report",
		written(func(emit func(int, flatten.Row) error) error { return o.Report(text, emit) }),
		written(func(emit func(int, flatten.Row) error) error { return slowReport(o, text, emit) }))
	own, err := flatten.Members(text)
	notObject := valid(text, '{')
	same("Members", fmt.Sprint(own, err), fmt.Sprint(slowMembers(text, notObject), notObject))
	list, err := flatten.Elements(text)
	notArray := valid(text, '[')
	if string(text) == "null" {
		notArray = nil
	}
	same("Elements", fmt.Sprint(list, err), fmt.Sprint(slowElements(text, notArray), notArray))
	if notObject != nil {
		return
	}
	outer := append(slices.Clone(own), flatten.Member{Name: []byte(`"id"`), Value: []byte("1")}, flatten.Member{Name: []byte(`"response_id"`), Value: []byte("2")})
	same("Each",
		written(func(emit func(int, flatten.Row) error) error {
			return o.Each(text, "id", outer, func(r flatten.Row) error { return emit(0, r) })
		}),
		written(func(emit func(int, flatten.Row) error) error {
			return slowRows(o, text, "id", outer, func(r flatten.Row) error { return emit(0, r) })
		}))
	around, err := flatten.Around([]byte("x"), text, outer)
	slow := append(appendMembers(appendMembers([]byte("x{"), prefixed(outer, own)), own), '}')
	same("Around", fmt.Sprintf("%s %v", around, err), fmt.Sprintf("%s <nil>", slow))
}

func slowMembers(text []byte, err error) []flatten.Member {
	if err != nil {
		return nil
	}
	return members(text)
}

func slowElements(text []byte, err error) [][]byte {
	if err != nil || string(text) == "null" {
		return nil
	}
	return elements(text)
}

// anyText draws JSON with white space, and with names that are there twice, or that rows have, too.
func anyText(t *rapid.T, depth int) string {
	space := func() string { return rapid.SampledFrom([]string{"", "", "", " ", "\r\n\t"}).Draw(t, "space") }
	kind := rapid.IntRange(0, 4).Draw(t, "kind")
	if depth == 0 || kind == 0 {
		return space() + rapid.SampledFrom([]string{
			`1.0`, `-0`, `"x"`, `"]},\"\\"`, `"\u00e9é"`, "\"\xff\"", `null`, `true`, `[]`, `{}`, `{"a":[{"b":"}"}]}`,
		}).Draw(t, "value") + space()
	}
	var list []string
	for range rapid.IntRange(0, 5).Draw(t, "parts") {
		part := anyText(t, depth-1)
		if kind > 2 {
			part = space() + `"` + rapid.SampledFrom([]string{
				"reports", "reports", "forensics", "forensics", "id", "report", "forensics_id", "forensics_found", "response_id", "response_forensics", "\\u0069d", "",
			}).Draw(t, "name") + `"` + space() + ":" + part
		}
		list = append(list, part)
	}
	if kind > 2 {
		return space() + "{" + strings.Join(list, ",") + space() + "}" + space()
	}
	return space() + "[" + strings.Join(list, ",") + space() + "]" + space()
}

// TestRowsAreThoseOfTheSlowWay: whatever the text is, rows and errors are, to the byte, those that
// were stored before.
func TestRowsAreThoseOfTheSlowWay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(`{"reports":` + anyText(t, 4) + `,"id":` + anyText(t, 2) + `,"z":0}`)
		if rapid.Bool().Draw(t, "free") {
			text = []byte(anyText(t, 5))
		}
		if len(text) > 0 && rapid.IntRange(0, 3).Draw(t, "spoil") == 0 {
			text[rapid.IntRange(0, len(text)-1).Draw(t, "at")] = rapid.SampledFrom([]byte(` ,:{}[]"\0n`)).Draw(t, "with")
		}
		compare(t, flatten.Options{MaxRow: rapid.SampledFrom([]int{0, 120, 200}).Draw(t, "row")}, text)
	})
}

// TestManyMembers has so many of them that they are not compared one with another.
func TestManyMembers(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 10, 30, 300} {
		for _, twice := range []int{0, 1} {
			var list []string
			for i := range n {
				list = append(list, fmt.Sprintf(`"m%d":%d`, i*(1-twice)+twice*(i/2), i))
			}
			object := strings.Join(list, ",")
			compare(t, flatten.Options{}, []byte(`{"id":[1,2],`+object+`,"reports":[{"forensics":[3,4],`+object+`},5,{`+object+`}]}`))
		}
	}
}

// TestAsDeepAsBefore: the deepest text that is read is as deep wherever it stands.
func TestAsDeepAsBefore(t *testing.T) {
	t.Parallel()
	const deepest = 10_000
	for _, around := range [][2]string{{`{"a":`, `}`}, {`{"reports":`, `}`}, {`{"reports":[`, `]}`}, {`{"reports":[{"forensics":`, `}]}`}, {`{"reports":[{"forensics":[`, `]}]}`}} {
		for depth := deepest; depth <= deepest+1; depth++ {
			inside := depth - len(around[1])
			text := []byte(around[0] + strings.Repeat("[", inside) + "1" + strings.Repeat("]", inside) + around[1])
			compare(t, flatten.Options{}, text)
			if err := valid(text, '{'); (err == nil) != (depth == deepest) {
				t.Errorf("%s, %d deep: %v", around[0], depth, err)
			}
		}
	}
}

func FuzzSameRows(f *testing.F) {
	for _, name := range []string{"testdata/report.json", "testdata/empty.json"} {
		seed, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed, 0)
	}
	for _, text := range []string{
		`{"reports":{"forensics":[[[]]]}}`, `{"reports":[{"reports":[1],"forensics":null},null,[1]],"a":1,"a":2}`, `{"reports":[1],"reports":null}`,
		`{"reports" : [ { "forensics" : "x", "forensics" : [ 1 ] , "forensics_id":2 } ], "forensics":3 }` + "\u00a0", `{"reports":[1 2]}`, `{"reports":[1,]}`,
		`{"a":1}x`, `{"a":1,}`, `{1:2}`, `{"reports":[{]}]}`, `[1,{"id":[]},"x"]`, `null`, `{"id":[1],"id":[2,3]}`, "\ufeff{}", `{"id":nul}`, `{"reports":[{"forensics":[tru]}]}`,
	} {
		f.Add([]byte(text), 100)
	}
	f.Fuzz(func(t *testing.T, text []byte, row int) { compare(t, flatten.Options{MaxRow: row}, text) })
}
