package flatten_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/flatten"
	"github.com/tapline/tapline/pkg/jsonline"
)

var update = flag.Bool("update", false, "write the golden files anew")

func rows(tb testing.TB, o flatten.Options, response []byte) (lines []string, err error) {
	tb.Helper()
	err = o.Report(response, func(number int, r flatten.Row) error {
		if number != len(lines) {
			tb.Errorf("row %d has number %d", len(lines), number)
		}
		line := string(jsonline.Append(nil, r.JSON))
		if r.Err != nil {
			line = "error: " + r.Err.Error()
		}
		lines = append(lines, line)
		return nil
	})
	return lines, err
}

// TestGolden compares the rows of reports with files. When rows are meant to change,
// [flatten.Generation] has to be raised, and the test run with -update.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, name := range files {
		response, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := rows(t, flatten.Options{}, response)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("generation %d\n%s\n", flatten.Generation, strings.Join(lines, "\n"))
		golden := strings.TrimSuffix(name, ".json") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
		for _, line := range lines {
			if !jsontext.Value(line).IsValid() { // no name twice either
				t.Errorf("%s: not valid: %s", name, line)
			}
		}
	}
}

func TestRowsTooLargeAreErrorsOfTheirOwn(t *testing.T) {
	t.Parallel()
	response := []byte(`{"reports":[{"id":"x","forensics":[{"a":1},{"b":"` + strings.Repeat("x", 3000) + `"},{"c":3}]}]}`)
	lines, err := rows(t, flatten.Options{MaxRow: 2048}, response)
	if err != nil || len(lines) != 3 {
		t.Fatalf("%d rows, %v", len(lines), err)
	}
	if !strings.HasPrefix(lines[1], "error: row is too large: element 2 of 3 of forensics makes ") || !strings.Contains(lines[2], `"forensics_id":3`) {
		t.Errorf("%s\n%s", lines[1], lines[2])
	}
}

func TestWhatIsNoObjectIsRefused(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001)
	for _, text := range []string{"", "[]", "1", `{"a":1`, `{"a":1}{}`, `{"a":}`, `{"reports":[1,}`, deep} {
		if _, err := rows(t, flatten.Options{}, []byte(text)); !errors.Is(err, flatten.ErrNotObject) {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}

func TestAround(t *testing.T) {
	t.Parallel()
	outer := []flatten.Member{{Name: []byte(`"list"`), Value: []byte(`"vap"`)}, {Name: []byte(`"total"`), Value: []byte("2.50")}}
	for object, want := range map[string]string{
		`{}`:                      `{"list":"vap","total":2.50}`,
		`{"identity":{"guid":1}}`: `{"list":"vap","total":2.50,"identity":{"guid":1}}`,
		`{"total":7}`:             `{"list":"vap","response_total":2.50,"total":7}`,
	} {
		got, err := flatten.Around(nil, []byte(object), outer)
		if err != nil || string(got) != want {
			t.Errorf("%s became %s, %v; want %s", object, got, err, want)
		}
	}
}

// TestNothingIsLost: whatever the report, each piece of evidence stands in exactly one row,
// unchanged, with everything around it.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SampledFrom([]string{`1.0`, `12345678901234567890`, `"x"`, `null`, `{}`, `[]`, `{"forensics":[1]}`, `"\u00e9"`, `-0`})
		name := rapid.SampledFrom([]string{"id", "name", "scope", "forensics_id", "forensics_found", "x.y", "reports", "response_id"})
		object := func(label string, extra ...string) (string, map[string]string) {
			have := make(map[string]string)
			parts := extra
			for _, n := range rapid.SliceOfNDistinct(name, 0, 5, rapid.ID).Draw(t, label) {
				have[n] = value.Draw(t, label+" value")
				parts = append(parts, fmt.Sprintf("%q:%s", n, have[n]))
			}
			return "{" + strings.Join(rapid.Permutation(parts).Draw(t, label+" order"), " , ") + "}", have
		}
		evidence := rapid.SliceOfN(value, 0, 4).Draw(t, "evidence")
		report, own := object("report", `"forensics": [`+strings.Join(evidence, ",")+"]")
		var got []map[string]json.RawMessage
		err := flatten.Options{}.Each([]byte(report), "forensics", []flatten.Member{{Name: []byte(`"id"`), Value: []byte(`"outer"`)}}, func(r flatten.Row) error {
			row := make(map[string]json.RawMessage)
			if err := json.Unmarshal(r.JSON, &row); err != nil || !jsontext.Value(r.JSON).IsValid() {
				t.Fatalf("%s: %v", r.JSON, err)
			}
			got = append(got, row)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		found := len(evidence)
		if found == 0 {
			evidence = []string{"{}"}
		}
		if len(got) != len(evidence) {
			t.Fatalf("%d rows of %d pieces", len(got), len(evidence))
		}
		for i, row := range got {
			if string(row["forensics"]) != evidence[i] || string(row["forensics_found"]) != fmt.Sprint(found) || string(row["forensics_id"]) != fmt.Sprint(min(i+1, found)) {
				t.Fatalf("row %d: %s", i, row)
			}
			for name, value := range own {
				if string(row[name]) != value && string(row[flatten.Outer+name]) != value && string(row[flatten.Outer+flatten.Outer+name]) != value {
					t.Fatalf("row %d lost %s: %s", i, name, row)
				}
			}
		}
	})
}

func FuzzReport(f *testing.F) {
	for _, name := range []string{"testdata/report.json", "testdata/empty.json"} {
		seed, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Add([]byte(`{"reports":{"forensics":[[[]]]}}`))
	f.Add([]byte(`{"reports":[{"reports":[1],"forensics":null},null,[1]],"a":1,"a":2}`))
	f.Add([]byte(""))      // no value at all
	f.Add([]byte(`{}0`))   // a second value
	f.Add([]byte(`{[`))    // a name that is no string
	f.Add([]byte(`{"a":`)) // ends before a value
	f.Fuzz(func(t *testing.T, response []byte) {
		alloctest.Linear(t, len(response), 256, 1<<20, func() {
			_ = flatten.Options{}.Report(response, func(int, flatten.Row) error { return nil })
		})
		again := 0
		for range 2 { // the rows are a function of the text
			count := 0
			err := flatten.Options{}.Report(response, func(number int, r flatten.Row) error {
				if number != count || r.Err != nil || !jsontext.Value(r.JSON).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
					t.Fatalf("row %d: %s, %v", number, r.JSON, r.Err)
				}
				count++
				return nil
			})
			if err != nil {
				if !errors.Is(err, flatten.ErrNotObject) && !errors.Is(err, flatten.ErrTooMany) {
					t.Fatal(err)
				}
				return
			}
			if count == 0 || (again > 0 && again != count) {
				t.Fatalf("%d rows, then %d", again, count)
			}
			again = count
		}
	})
}

// report makes a response of about so many bytes.
func report(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"generated":"2026-03-11T12:30:44.917Z","reports":[{"scope":"THREAT","id":"945bd475","name":"945bd475","threatStatus":"active","forensics":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"type":"dns","display":"DNS lookup of host: host%d.example","engine":"iee","malicious":true,"time":0,"what":{"host":"host%d.example","ips":["203.0.113.9"],"cnames":["edge.example"],"nameservers":["ns1.example"],"nameserversList":["ns1.example"]},"platforms":[{"name":"Win10","os":"win","version":"win10"}]}`, i, i)
	}
	b.WriteString("]}]}")
	return b.Bytes()
}

func BenchmarkReport(b *testing.B) {
	for _, size := range []int{2 << 10, 60 << 10, 4 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			response := report(size)
			b.SetBytes(int64(len(response)))
			b.ReportAllocs()
			rows := 0
			for b.Loop() {
				err := flatten.Options{MaxRow: 1 << 20}.Report(response, func(int, flatten.Row) error {
					rows++
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkBareReport is the ceiling of BenchmarkReport: jsontext reads the same pieces of
// evidence.
func BenchmarkBareReport(b *testing.B) {
	for _, size := range []int{2 << 10, 60 << 10, 4 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			response := report(size)
			b.SetBytes(int64(len(response)))
			b.ReportAllocs()
			for b.Loop() {
				d := jsontext.NewDecoder(bytes.NewReader(response), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
				for {
					token, err := d.ReadToken()
					if err != nil {
						b.Fatal(err)
					}
					if token.Kind() == '"' && token.String() == "forensics" {
						break
					}
				}
				_, err := d.ReadToken()
				for err == nil && d.PeekKind() != ']' {
					_, err = d.ReadValue()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
