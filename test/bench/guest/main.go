//go:build linux

// Command guest runs the benchmark's workloads inside a machine of the lab
// whose clock counts instructions, and prints the costs as JSON.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/ctwhy/ctwhy/test/bench/result"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := prepare(); err != nil {
		return err
	}
	// The first round finds caches of routes and slabs that the others find full.
	if _, err := measure(modes()[0]); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	var r result.Result
	for _, m := range modes() {
		cost, err := measure(m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		r.Costs = append(r.Costs, cost)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// measure runs all workloads in one mode. Runs of programs are counted apart,
// since counting them costs.
func measure(m mode) (cost result.Cost, err error) {
	cost.Mode = m.name
	stop, ready, err := m.start()
	if err != nil {
		return cost, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	cost.Attach = ready
	if cost.NewFlow, err = newFlows(); err != nil {
		return cost, err
	}
	if cost.Established, err = established(); err != nil {
		return cost, err
	}
	if m.runs {
		if cost.Runs, err = runsWhileEstablished(); err != nil {
			return cost, err
		}
	}
	if m.dropped {
		cost.Dropped, err = dropped()
	}
	return cost, err
}
