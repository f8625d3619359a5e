// Package render writes what package event says: as text for people, as JSON
// for programs. It decides nothing and knows no kernel, so a recording renders
// like a live trace, on any system.
//
// Names of processes, network namespaces and interfaces are hostile text: text
// output goes through [Clean], and JSON escapes whatever is not printable.
package render
