package trace

import (
	"net"

	"github.com/ctwhy/ctwhy/pkg/netns"
)

// maxDevices bounds the cache of interface names.
const maxDevices = 4096

// names finds the names of namespaces and interfaces, and remembers them.
type names struct {
	index   netns.Index
	devices map[device]string
}

type device struct {
	netns, index uint32
}

// netns is the namespace's name in /run/netns, "" where it has none.
func (n *names) netns(id uint32) string {
	ref, _ := n.index.Lookup(id)
	return ref.Name
}

// device is the name that an interface has now, "" when it can't be told. It
// asks for one interface once: one that is renamed keeps its old name here.
func (n *names) device(id, index uint32) string {
	d := device{id, index}
	if name, ok := n.devices[d]; ok {
		return name
	}
	if n.devices == nil || len(n.devices) >= maxDevices {
		n.devices = map[device]string{}
	}
	n.devices[d] = ""
	if ref, ok := n.index.Lookup(id); ok && ref.Path != "" {
		// A namespace that has gone leaves the name unknown.
		_ = ref.Do(func() error {
			dev, err := net.InterfaceByIndex(int(index))
			if err == nil {
				n.devices[d] = dev.Name
			}
			return err
		})
	}
	return n.devices[d]
}
