//go:build guest

package scenario

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// fill puts n ASSURED entries that live for an hour into the netns's table:
// entries that nothing evicts. Half are TCP, half UDP, all of them between
// 198.18.0.0/16 and 198.19.0.1, where no workload sends to.
func (ns *netns) fill(t *testing.T, n int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "table")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range n {
		proto := "udp"
		if i%2 == 0 {
			proto = "tcp --state ESTABLISHED"
		}
		fmt.Fprintf(w, "-A -s 198.18.%d.%d -d 198.19.0.1 -p %s --sport 1000 --dport 2000 -t 3600 -u SEEN_REPLY,ASSURED\n", i>>8, i&255, proto)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := ns.run("conntrack", "--load-file", file); err != nil {
		t.Fatalf("conntrack --load-file: %v\n%s", err, out)
	}
	if got := ns.count(t); got != n {
		t.Fatalf("the table has %d entries after filling, want %d", got, n)
	}
}

// count is how many entries the netns's table has.
func (ns *netns) count(t *testing.T) int {
	t.Helper()
	out, err := ns.run("conntrack", "-C")
	if err != nil {
		t.Fatalf("conntrack -C: %v\n%s", err, out)
	}
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatalf("conntrack -C: %v", err)
	}
	return n
}

// flush empties the netns's table.
func (ns *netns) flush(t *testing.T) {
	t.Helper()
	if out, err := ns.run("conntrack", "-F"); err != nil {
		t.Fatalf("conntrack -F: %v\n%s", err, out)
	}
}

// fullNetns is a netns whose table is full of entries that nothing evicts.
// The fill comes before the limit: the limit is global, and others need room
// while there is no need for it yet.
func fullNetns(t *testing.T, entries int) *netns {
	t.Helper()
	n := newNetns(t)
	n.fill(t, entries)
	setSysctl(t, sysctlMax, entries)
	return n
}
