package main

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A path through our own hard NAT, found by guessing its ports: the other
// side, ours or a reference node that knows nothing of it, is behind an easy
// one.  Both start anew for each run.

func hardNATOurs(t *test)  { searchHardNAT(t, "ours", "own") }
func hardNATTsnet(t *test) { searchHardNAT(t, "tsnet", "on") }

const searchLimit = 3 * time.Second

func searchHardNAT(t *test, other, pref string) {
	l := newLab(t, "-stun2", secondIP+":"+secondSTUN)
	l.inet.delay = 10 * time.Millisecond
	a := l.addNode("alpha", hardNAT)
	a.up("--hard-nat=" + pref)
	b := l.addTalker(other, l.addSite("beta", easyNAT))
	var took []float64
	var sockets, pings, guesses []int
	for range t.runner.runs {
		freshPair(t, a, b)
		t.flows++
		var start int64
		t.helperErr(a.service().call("flow-start", endArgs{ID: t.flows, Addr: b.addr(), Interval: 20 * time.Millisecond},
			&start, 5*time.Second))
		from, to := awaitBoth(a, b, searchLimit)
		t.helperErr(a.service().call("flow-stop", endArgs{ID: t.flows, Timeout: 2 * time.Second}, &flowResult{}, 5*time.Second))
		seen := counters(a)
		if from != 0 && to != 0 {
			took = append(took, float64(max(from, to)-start)/1e9)
			// The reference forgets for a moment what a newer call does not name.
			t.await(2*time.Second, b.title()+": the path found is in use", func() bool { return b.path(a.addr()) != "" })
			checkPath(t, a, b, hostOf(b.at().outside))
			checkPath(t, b, a, hostOf(a.at().outside))
		}
		sockets = append(sockets, seen["hard_nat_sockets_total"])
		pings = append(pings, seen["hard_nat_pings_total"])
		guesses = append(guesses, seen["hard_nat_guesses_total"])
	}
	t.figure("through our hard NAT to %s: direct within %v in %d of %d; seconds %s; sockets %s, pings %s, guesses %s",
		other, searchLimit, len(took), t.runner.runs, spread(took, "%.2f"), spread(sockets, "%d"), spread(pings, "%d"),
		spread(guesses, "%d"))
	// One search in a hundred misses, by design; more than one in twenty is a fault.
	if misses := t.runner.runs - len(took); misses > max(1, t.runner.runs/20) {
		t.fatalf("%d of %d runs did not become direct", misses, t.runner.runs)
	}
	if a.path(b.addr()) == "" {
		return // the last run was the one that missed
	}
	for i, w := range []struct{ by, with talker }{{a, b}, {b, a}} {
		var res transferResult
		t.helperErr(w.by.service().call("transfer", endArgs{Addr: w.with.addr(), Size: int64(t.runner.mib) << 20, Seed: uint64(i),
			Timeout: 60 * time.Second}, &res, 65*time.Second))
		if res.Sent != res.Received || len(res.Sent) != 64 {
			t.fatalf("%s to %s: sent %s, received %s", w.by.title(), w.with.title(), res.Sent, res.Received)
		}
	}
	checkPath(t, a, b, hostOf(b.at().outside))
	t.figure("%d MiB each way over it, checksums equal", t.runner.mib)
}

// counters are those of `debug metrics` that have no labels.
func counters(n *node) map[string]int {
	out := map[string]int{}
	lines := bufio.NewScanner(strings.NewReader(n.cliOK("debug", "metrics").out))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.Atoi(value); err == nil {
			out[name] = v
		}
	}
	return out
}

// spread gives median and worst.
func spread[T int | float64](v []T, format string) string {
	if len(v) == 0 {
		return "-"
	}
	slices.Sort(v)
	return fmt.Sprintf(format+" ("+format+")", v[len(v)/2], v[len(v)-1])
}
