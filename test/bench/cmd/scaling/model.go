package main

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// model is the formulas of docs/sizing.md with the numbers of this machine. Points that a number
// comes from say nothing about the formula, all others do.
type model struct {
	fixed    float64 // seconds that a pipeline takes besides its rows
	inOne    float64 // seconds for each row when processors are what bounds: all in one process
	separate float64 // the same, each stage in a process of its own
	perCall  float64 // seconds that a fetcher takes for a call of the slow simulator besides its latency
}

// fit takes a model's numbers from the points that are marked in the report.
func fit(points []point) model {
	var m model
	var rows, seconds []float64
	for _, p := range points {
		if p.Group == "rate" {
			rows, seconds = append(rows, float64(p.rows())), append(seconds, p.Elapsed)
		}
	}
	m.fixed, m.inOne = line(rows, seconds)
	m.fixed = max(0, m.fixed)
	for _, p := range points {
		if !p.fitted() {
			continue
		}
		if p.Name == "processor" {
			m.separate = (p.Elapsed - m.fixed) / float64(p.rows())
		}
		if p.Name == "Proofpoint" {
			m.perCall = (p.Elapsed-m.fixed)/p.backfills() - p.Setting.Latency.Seconds()
		}
	}
	return m
}

// fitted tells whether a number of the model comes from this point.
func (p point) fitted() bool {
	one := p.Setting.Fetchers == 1 && p.Setting.Enrichers == 1 && p.Setting.Shippers == 1
	return p.Group == "rate" || p.Group == "replicas" && one && p.Name != "Devo"
}

// seconds is how long a point takes by the model: what is fixed, and the longest of what bounds it.
func (m model) seconds(p point) float64 {
	row, s := m.inOne, p.Setting
	if s.Fetchers > 0 {
		row = m.separate
	}
	rows := float64(p.rows())
	longest := rows * row
	if s.Latency > 0 {
		turns := math.Ceil(p.backfills() / float64(max(1, s.Fetchers)))
		longest = max(longest, turns*(s.Latency.Seconds()+m.perCall))
	}
	inFlight, settle := s.sink()
	tenants := float64(len(p.Fill))
	longest = max(longest, rows*p.Fill[0].RowSize*settle/(inFlight*float64(max(1, s.Shippers))*tenants))
	return m.fixed + longest
}

// sink is what a shipper may have in flight, in bytes, and for how many seconds it stays there.
func (s setting) sink() (inFlight, settle float64) {
	inFlight, settle = 32<<20, 0.25 // the defaults
	for _, v := range s.Env {
		if text, ok := strings.CutPrefix(v, "SHIPPER_MAX_INFLIGHT_BYTES="); ok {
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				inFlight = n
			}
		}
		if text, ok := strings.CutPrefix(v, "DEVO_SETTLE="); ok {
			if d, err := time.ParseDuration(text); err == nil {
				settle = d.Seconds()
			}
		}
	}
	return inFlight, settle
}

func (p point) rows() int64 {
	n := int64(0)
	for _, s := range p.Fill {
		n += s.Rows
	}
	return n
}

// backfills are the calls for records but the first live one, which does not wait for them.
func (p point) backfills() float64 { return float64(p.Fill[0].Calls - 1) }

// cpu is the processor time of all but the stand-ins.
func cpu(samples []sample) float64 {
	sum := 0.0
	for _, s := range samples {
		for program, v := range s.CPU {
			if program != standIn {
				sum += v
			}
		}
	}
	return sum
}

// line is the least squares fit of ys = a + b xs.
func line(xs, ys []float64) (a, b float64) {
	n, sx, sy, sxx, sxy := float64(len(xs)), 0.0, 0.0, 0.0, 0.0
	for i, x := range xs {
		sx, sy, sxx, sxy = sx+x, sy+ys[i], sxx+x*x, sxy+x*ys[i]
	}
	if d := n*sxx - sx*sx; d != 0 {
		b = (n*sxy - sx*sy) / d
	}
	if n > 0 {
		a = (sy - b*sx) / n
	}
	return a, b
}
