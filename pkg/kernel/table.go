package kernel

import (
	"fmt"
	"strconv"
)

// Table is the conntrack table's size, from the sysctls net.netfilter.nf_conntrack_*.
type Table struct {
	Max     uint32 // limit of entries, one number for every netns; 0 is no limit before Linux 7.2
	Count   uint32 // entries of the netns that the calling thread is in
	Buckets uint32 // of the one hash table that all netns share
}

// Table reads the sysctls, as seen from the calling thread's netns. Where
// conntrack is not loaded the error is [fs.ErrNotExist].
func (k Kernel) Table() (Table, error) {
	var t Table
	for _, f := range []struct {
		name string
		to   *uint32
	}{{"max", &t.Max}, {"count", &t.Count}, {"buckets", &t.Buckets}} {
		s, err := k.read("proc/sys/net/netfilter/nf_conntrack_" + f.name)
		if err != nil {
			return Table{}, fmt.Errorf("read conntrack's limits: %w", err)
		}
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return Table{}, fmt.Errorf("read nf_conntrack_%s: %w", f.name, err)
		}
		*f.to = uint32(n)
	}
	return t, nil
}
