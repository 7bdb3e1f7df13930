// Package deploy tests what is in the folder deploy: that manifests, rules and
// dashboards name only what exists.
package deploy
