// Package ctwhy holds nothing but the line that makes the BPF programs.
//
// What it generates is committed, so that building ctwhy needs neither clang
// nor libbpf's headers.
package ctwhy

//go:generate go tool bpf2go -target amd64,arm64 -go-package probe -output-dir pkg/probe -no-global-types -type event -type tuple -type entry -type tally -type tally_key -type misses -type settings -type reason -type has trace bpf/trace.bpf.c -- -I. -Iheaders -Wall -Werror -O2 -mcpu=v2
