package ladder

// Early records that an answer for a job says that it was called too early. It reports whether this
// is the first.
func (l *Ladder) Early(id string) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.job(id)
	first, j.early = !j.early, true
	return first
}
