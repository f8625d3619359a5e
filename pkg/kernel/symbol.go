package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Symbol is a kernel symbol by its exact name.
type Symbol struct {
	Name   string
	Module string // "" for the kernel proper
	// Addr is 0 where the kernel hides it (kernel.kptr_restrict, no CAP_SYSLOG).
	Addr uint64
	// Type is nm(1)'s letter: t and T are functions.
	Type byte
	// Others counts further symbols of the same name and kind. A kprobe on
	// such a name is ambiguous, and refused since Linux 6.7.
	Others int
}

// Func reports whether the symbol is a function.
func (s Symbol) Func() bool { return isFunc(s.Type) }

func isFunc(t byte) bool { return t == 't' || t == 'T' || t == 'w' || t == 'W' }

// Symbols is what [Kernel.Symbols] found.
type Symbols struct {
	found map[string]Symbol
	// Hidden: the kernel reads every address as zero to this process
	// (kernel.kptr_restrict, or no CAP_SYSLOG). Names are not affected.
	Hidden bool
}

// Lookup finds a symbol among those that were asked for.
func (s Symbols) Lookup(name string) (Symbol, bool) {
	sym, ok := s.found[name]
	return sym, ok
}

// Has reports whether there is a function of that exact name. One that the
// compiler has inlined or split (name.part.0, name.isra.0) is not there.
func (s Symbols) Has(name string) bool { return s.found[name].Func() }

// Symbols looks the names up in /proc/kallsyms, all in one pass. Names that are
// not there are left out. Where several symbols share a name a function goes
// before data, one of nf_conntrack before others, the first before later ones.
func (k Kernel) Symbols(names ...string) (Symbols, error) {
	f, err := os.Open(k.path("proc/kallsyms"))
	if err != nil {
		return Symbols{}, fmt.Errorf("read kernel symbols: %w", err)
	}
	defer f.Close()
	s, err := scanSymbols(f, names)
	if err != nil {
		return Symbols{}, fmt.Errorf("read kernel symbols: %w", err)
	}
	return s, nil
}

func scanSymbols(r io.Reader, names []string) (Symbols, error) {
	s := Symbols{found: make(map[string]Symbol, len(names)), Hidden: true}
	wanted := make(map[string]bool, len(names))
	var lengths [256]bool // most lines differ in length from every name: no hashing
	for _, n := range names {
		wanted[n] = true
		lengths[min(len(n), 255)] = true
	}
	seen := false
	in := bufio.NewReaderSize(r, 1<<18)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return Symbols{}, fmt.Errorf("line longer than %d bytes", in.Size())
		}
		if len(line) > 0 {
			// "ffffffff81f8f070 t early_drop\t[nf_conntrack]", 8 digits on 32 bits
			sp := bytes.IndexByte(line, ' ')
			if sp > 0 && sp+3 < len(line) && line[sp+2] == ' ' {
				typ := line[sp+1]
				if !seen || s.Hidden {
					seen = true
					s.Hidden = s.Hidden && (!isFunc(typ) || allZero(line[:sp]))
				}
				rest := line[sp+3:]
				end := bytes.IndexAny(rest, "\t\n")
				if end < 0 {
					end = len(rest)
				}
				if lengths[min(end, 255)] && wanted[string(rest[:end])] {
					s.add(string(rest[:end]), typ, line[:sp], rest[end:])
				}
			}
		}
		if err == io.EOF {
			s.Hidden = s.Hidden && seen
			return s, nil
		}
		if err != nil {
			return Symbols{}, err
		}
	}
}

func (s *Symbols) add(name string, typ byte, addr, rest []byte) {
	sym := Symbol{Name: name, Type: typ, Addr: parseHex(addr)}
	if rest = bytes.TrimSpace(rest); len(rest) > 2 && rest[0] == '[' {
		sym.Module = string(rest[1 : len(rest)-1])
	}
	old, ok := s.found[name]
	switch {
	case !ok, sym.Func() && !old.Func():
	case old.Func() && !sym.Func():
		return
	case sym.Module == "nf_conntrack" && old.Module != "nf_conntrack":
		sym.Others = old.Others + 1
	default:
		old.Others++
		sym = old
	}
	s.found[name] = sym
}

func allZero(hex []byte) bool {
	for _, c := range hex {
		if c != '0' {
			return false
		}
	}
	return true
}

func parseHex(b []byte) (n uint64) {
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0
		}
	}
	return n
}
