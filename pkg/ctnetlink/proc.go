//go:build linux

package ctnetlink

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// procColumns are the names that /proc/net/stat/nf_conntrack has for the
// counters (ct_cpu_seq_show, net/netfilter/nf_conntrack_standalone.c). Linux
// 5.4 has "searched" instead of clashres, and kernels before 5.15
// "delete_list" instead of chainlength.
var procColumns = map[string]Counter{
	"found": Found, "invalid": Invalid, "insert": Insert, "insert_failed": InsertFailed, "drop": Drop, "early_drop": EarlyDrop,
	"icmp_error": Error, "search_restart": SearchRestart, "clashres": ClashResolve, "chainlength": ChainTooLong,
}

// parseProc reads /proc/net/stat/nf_conntrack: a line of column names, then a
// line of hexadecimal numbers for each possible CPU.
func parseProc(r io.Reader) (Stats, error) {
	s := Stats{Source: "/proc/net/stat/nf_conntrack"}
	lines := bufio.NewScanner(r)
	if !lines.Scan() {
		return Stats{}, errors.Join(errors.New("no line in "+s.Source), lines.Err())
	}
	columns := strings.Fields(lines.Text())
	for _, name := range columns {
		if c, ok := procColumns[name]; ok {
			s.Has |= 1 << c
		}
	}
	if !s.Has.Has(Drop) {
		return Stats{}, fmt.Errorf("no column drop in %s", s.Source)
	}
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != len(columns) {
			return Stats{}, fmt.Errorf("%d columns and %d numbers in %s", len(columns), len(fields), s.Source)
		}
		cpu := CPU{ID: len(s.CPUs)}
		for i, name := range columns {
			c, ok := procColumns[name]
			if !ok {
				continue
			}
			v, err := strconv.ParseUint(fields[i], 16, 32)
			if err != nil {
				return Stats{}, fmt.Errorf("%s in %s: %w", name, s.Source, err)
			}
			cpu.Value[c] = uint32(v)
		}
		s.CPUs = append(s.CPUs, cpu)
	}
	if err := lines.Err(); err != nil {
		return Stats{}, fmt.Errorf("read %s: %w", s.Source, err)
	}
	if len(s.CPUs) == 0 {
		return Stats{}, fmt.Errorf("no CPU in %s", s.Source)
	}
	return s, nil
}
