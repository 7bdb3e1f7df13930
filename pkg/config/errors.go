package config

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every error about configuration, also by those that
// show only when a value is used (a refused credential). Programs exit with
// status 2 on it.
var ErrInvalid = errors.New("configuration is not usable")

// ProblemError says what is wrong with one variable.
type ProblemError struct {
	Variable string
	Value    string // as given; secrets are redacted; empty when there is none to show
	Reason   string // what is wrong and what would be right
	ID       int    // Devo's number for this kind of error (100, 101, 300, 301), 0 for none
}

// Error is one line: the variable, its value and what would be right. What may be a secret is
// printed neither in the value nor in the reason: see [RedactAddress].
func (p *ProblemError) Error() string {
	prefix := ""
	if p.ID != 0 {
		prefix = fmt.Sprintf("error %d: ", p.ID)
	}
	if p.Value == "" {
		return fmt.Sprintf("%s%s: %s", prefix, p.Variable, p.Reason)
	}
	return fmt.Sprintf("%s%s=%q: %s", prefix, p.Variable, shown(p.Variable, p.Value), shownIn(p.Reason, p.Variable, p.Value))
}

// Unwrap makes every problem an [ErrInvalid].
func (p *ProblemError) Unwrap() error { return ErrInvalid }

// Invalid is a [ProblemError] of one variable, for Validate methods.
func Invalid(variable, value, reason string) error {
	return &ProblemError{Variable: variable, Value: value, Reason: reason}
}
