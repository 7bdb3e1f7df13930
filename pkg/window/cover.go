package window

import "slices"

// Missing is what of w none of the others covers, in order of time.
func (w Window) Missing(others []Window) []Window {
	sorted := slices.DeleteFunc(slices.Clone(others), Window.Empty)
	slices.SortFunc(sorted, func(a, b Window) int { return a.Start.Compare(b.Start) })
	var missing []Window
	at := w.Start
	for _, o := range sorted {
		if !o.Start.Before(w.End) {
			break
		}
		if at.Before(o.Start) {
			missing = append(missing, Window{at, o.Start})
		}
		if at.Before(o.End) {
			at = o.End
		}
	}
	if at.Before(w.End) {
		missing = append(missing, Window{at, w.End})
	}
	return missing
}

// Meets reports whether the windows have an instant in common.
func (w Window) Meets(o Window) bool {
	return !w.Empty() && !o.Empty() && w.Start.Before(o.End) && o.Start.Before(w.End)
}

// Within is the part of w that lies in o. It may be empty.
func (w Window) Within(o Window) Window {
	if w.Start.Before(o.Start) {
		w.Start = o.Start
	}
	if o.End.Before(w.End) {
		w.End = o.End
	}
	return w
}
