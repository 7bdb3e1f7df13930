package torture

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// panel is one chart: a line for each name.
type panel struct {
	title string
	lines map[string][]float64
}

const (
	panelWidth  = 720
	panelHeight = 150
	left        = 60
	gap         = 48
)

var colours = []string{"#4269d0", "#efb118", "#ff725c", "#3ca951", "#6cc5b0"}

// Plot draws memory, goroutines, descriptors, disk and rows over the simulated time.
func (s *Soaked) Plot(w io.Writer) error {
	panels := []panel{
		{"resident memory, MiB", s.lines(func(x Sample) map[string]float64 { return scaled(x.RSS, 1<<20) })},
		{"goroutines", s.lines(func(x Sample) map[string]float64 { return x.Goroutines })},
		{"descriptors", s.lines(func(x Sample) map[string]float64 { return x.Descriptors })},
		{"disk of the broker, MiB", s.lines(func(x Sample) map[string]float64 { return map[string]float64{"store": x.Disk / (1 << 20)} })},
		{"rows at the sink, thousands", s.lines(func(x Sample) map[string]float64 { return map[string]float64{"rows": float64(x.Rows) / 1000} })},
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`,
		panelWidth+left+110, len(panels)*(panelHeight+gap)+20)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, p := range panels {
		s.draw(&b, p, 30+i*(panelHeight+gap))
	}
	b.WriteString("</svg>\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return nil
}

func scaled(values map[string]float64, by float64) map[string]float64 {
	out := make(map[string]float64, len(values))
	for name, v := range values {
		out[name] = v / by
	}
	return out
}

func (s *Soaked) lines(of func(Sample) map[string]float64) map[string][]float64 {
	lines := make(map[string][]float64)
	for i, sample := range s.Samples {
		for name, v := range of(sample) {
			if lines[name] == nil {
				lines[name] = make([]float64, len(s.Samples))
			}
			lines[name][i] = v
		}
	}
	return lines
}

func (s *Soaked) draw(b *strings.Builder, p panel, top int) {
	most := 1.0
	for _, line := range p.lines {
		most = max(most, slices.Max(line))
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold">%s</text>`, left, top-8, p.title)
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#bbb"/>`+"\n", left, top, panelWidth, panelHeight)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%.0f</text><text x="%d" y="%d" text-anchor="end">0</text>`, left-4, top+9, most, left-4, top+panelHeight)
	for hour := time.Duration(0); hour <= s.Span; hour += s.Span / 8 {
		x := left + float64(hour)/float64(s.Span)*panelWidth
		fmt.Fprintf(b, `<text x="%.0f" y="%d" text-anchor="middle">%.0fh</text>`, x, top+panelHeight+13, hour.Hours())
	}
	for i, name := range slices.Sorted(maps.Keys(p.lines)) {
		var points strings.Builder
		for j, v := range p.lines[name] {
			fmt.Fprintf(&points, "%.1f,%.1f ", left+min(1, float64(s.Samples[j].At)/float64(s.Span))*panelWidth, float64(top+panelHeight)-v/most*panelHeight)
		}
		colour := colours[i%len(colours)]
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.3" points="%s"/>`, colour, strings.TrimSpace(points.String()))
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", left+panelWidth+6, top+12+14*i, colour, name)
	}
}
