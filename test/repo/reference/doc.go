// Package reference knows which variables each program reads and which metrics it
// registers, from the code itself, and writes the tables of docs/configuration.md
// and docs/operations.md from that. Tests compare what else names them (documents,
// manifests, rules, dashboards) with it.
package reference
