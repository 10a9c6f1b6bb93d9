package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// What a flow notices when its path goes away and comes back.

var cutTests = []namedTest{
	{name: "cut_direct_ours_ours", fn: cutDirect("ours", "ours"), parallel: true},
	{name: "cut_direct_ours_tsnet", fn: cutDirect("ours", "tsnet"), parallel: true},
	{name: "cut_direct_tsnet_ours", fn: cutDirect("tsnet", "ours"), parallel: true},
	{name: "cut_relay_ours_ours", fn: cutRelay("ours", "ours"), parallel: true},
	{name: "cut_relay_ours_tsnet", fn: cutRelay("ours", "tsnet"), parallel: true},
	{name: "burst_relay_ours_ours", fn: burstRelay("ours", "ours"), parallel: true},
	{name: "burst_relay_ours_tsnet", fn: burstRelay("ours", "tsnet"), parallel: true},
	{name: "switch_route_ours_ours", fn: switches(byRoute, "ours"), parallel: true},
	{name: "switch_route_ours_tsnet", fn: switches(byRoute, "tsnet"), parallel: true},
	{name: "switch_rebind_ours_ours", fn: switches(byRebind, "ours"), parallel: true},
	{name: "switch_cut_ours_ours", fn: switches(byCut, "ours"), parallel: true},
}

const (
	stallLimit   = 5 * time.Second // generous: it has to be under three
	backLimit    = 10 * time.Second
	patience     = 20 * time.Second // with a peer of another kind
	toRelays     = "{ " + serverIP + ", " + secondIP + " }"
	cutPeers     = "meta l4proto udp ip saddr != " + toRelays + " ip daddr != " + toRelays + " drop"
	cutRelayPort = "tcp dport " + derpPort + " drop"
)

// pairAt is two nodes at sites of a kind, 40 ms apart, that never spoke.
func pairAt(t *test, kind siteKind, a, b string) (from, to talker) {
	l := newLab(t)
	l.inet.delay = 10 * time.Millisecond
	from, to = l.addTalker(a, l.addSite("alpha", kind)), l.addTalker(b, l.addSite("beta", kind))
	freshPair(t, from, to)
	return from, to
}

func (t *test) wantDirect(a, b talker, limit time.Duration, when string) (atA, atB int64) {
	atA, atB = awaitBoth(a, b, limit)
	if atA == 0 || atB == 0 {
		t.fatalf("%s: not direct within %v: %s %v, %s %v", when, limit, a.title(), atA != 0, b.title(), atB != 0)
	}
	return atA, atB
}

func (t *test) gauge(at talker) *gaugeResult {
	var res gaugeResult
	t.helperErr(at.service().call("gauge", endArgs{ID: 1}, &res, 5*time.Second))
	if res.Error != "" {
		t.fatalf("the TCP connection ended after %d bytes: %s", res.Bytes, res.Error)
	}
	return &res
}

// startGauge has from fetch a megabyte a second, and waits for a direct path.
func startGauge(t *test, from, to talker) {
	t.helperErr(from.service().call("gauge-start", endArgs{ID: 1, Addr: to.addr(), Size: 10 << 10, Seed: 7, Timeout: 10 * time.Second},
		nil, 15*time.Second))
	t.wantDirect(from, to, t.directLimit(), "at first")
}

// somewhen waits between one and three seconds: any phase of all timers.
func somewhen() { time.Sleep(time.Second + rand.N(2*time.Second)) }

// cutDirect: the direct path is cut in silence under a TCP transfer.
func cutDirect(a, b string) func(*test) {
	return func(t *test) {
		from, to := pairAt(t, easyNAT, a, b)
		startGauge(t, from, to)
		var stalls, backs []float64
		for range t.runner.runs {
			somewhen()
			stall, back := cutOnce(t, from, to)
			stalls, backs = append(stalls, stall), append(backs, back)
		}
		t.figure("%s fetches from %s, %d cuts: longest stall, median (worst) %s s; direct again on both sides %s s after the end of the cut",
			a, b, len(stalls), spread(stalls, "%.2f"), spread(backs, "%.2f"))
		if a == "ours" && b == "ours" && slices.Max(stalls) > stallLimit.Seconds() {
			t.fault("the transfer stood still for %.1f s", slices.Max(stalls))
		}
	}
}

func cutOnce(t *test, from, to talker) (stall, back float64) {
	nat := from.at().router
	cut := time.Now()
	nat.shut(cutPeers)
	// Data comes by relay, for a while, and the other side has noticed too.
	for flowing := 0; flowing < 20; time.Sleep(100 * time.Millisecond) {
		now := time.Now()
		if now.UnixNano()-t.gauge(from).Last < int64(200*time.Millisecond) && now.Sub(cut) > time.Second {
			flowing++
		} else {
			flowing = 0
		}
		if now.Sub(cut) > patience {
			t.fatalf("nothing comes %v after the direct path was cut", patience)
		}
	}
	if n, ok := from.(*node); ok && n.path(to.addr()) != "" {
		t.fault("%s still calls the path direct %v after it was cut", n.name, time.Since(cut).Round(time.Millisecond))
	}
	open := time.Now()
	nat.shut()
	atFrom, atTo := t.wantDirect(from, to, patience, "after the cut")
	time.Sleep(300 * time.Millisecond)
	now := time.Now()
	return t.gauge(from).longest(cut.UnixNano(), now.UnixNano()).Seconds(), float64(max(atFrom, atTo)-open.UnixNano()) / 1e9
}

// cutRelay: the relay ends, and then falls silent, under a transfer that
// does not need it.
func cutRelay(a, b string) func(*test) {
	return func(t *test) {
		from, to := pairAt(t, easyNAT, a, b)
		startGauge(t, from, to)
		var stalls []float64
		during := func(cut, mend func()) {
			somewhen()
			start := time.Now()
			cut()
			time.Sleep(4 * time.Second)
			mend()
			time.Sleep(2 * time.Second)
			stalls = append(stalls, t.gauge(from).longest(start.UnixNano(), time.Now().UnixNano()).Seconds())
			t.wantDirect(from, to, time.Second, "the relay was away")
		}
		for range t.runner.runs {
			during(func() { t.lab.server("relay", serverArgs{On: false}, nil) },
				func() { t.lab.server("relay", serverArgs{On: true}, nil) })
			during(func() { from.at().router.shut(cutRelayPort); to.at().router.shut(cutRelayPort) },
				func() { from.at().router.shut(); to.at().router.shut() })
		}
		t.figure("%s fetches from %s while the relay is away, %d times: longest time without a byte, median (worst) %s s",
			a, b, len(stalls), spread(stalls, "%.2f"))
		if slices.Max(stalls) > 1 {
			t.fault("the transfer stood still for %.2f s while only the relay was away", slices.Max(stalls))
		}
	}
}

// dropsOf says what our daemons among the two dropped, by their counters.
func dropsOf(ends ...talker) string {
	out := ""
	for _, e := range ends {
		if n, ok := e.(*node); ok {
			out += fmt.Sprintf("%s [%s] ", n.name, n.drops())
		}
	}
	return out
}

// burstRelay: a heap of small packets before there is a session: they wait
// for it, and pass the relay, which keeps few at a time.  Where the relay has
// to wait for a processor it drops some all the same: the best of some counts.
func burstRelay(a, b string) func(*test) {
	const size, bursts, lostMax = 100, 3, 5
	return func(t *test) {
		from, to := pairAt(t, udpBlocked, a, b)
		var lost []int
		gaps, before := "", t.lab.relayDropped()
		for range max(t.runner.runs, bursts) {
			freshPair(t, from, to)
			fl := startFlow(t, from, to, 20*time.Millisecond, size)
			time.Sleep(300 * time.Millisecond)
			res, got := fl.stop()
			lost = append(lost, res.Sent-got.Got)
			gaps += res.gaps() + ";"
		}
		t.figure("%d bursts of %d packets, lost on the way there %v; the relay dropped %d", len(lost), size, lost,
			t.lab.relayDropped()-before)
		if slices.Min(lost) > lostMax {
			t.fault("no burst lost less than %d packets:%s dropped: %s", slices.Min(lost), gaps, dropsOf(from, to))
		}
	}
}

// A switcher forces alpha's path to beta from direct to relay and lets it
// come back.
type switcher struct {
	what     string
	lossless bool // nothing that was sent is where it cannot arrive
	away     func(t *test, from *node, to talker)
	back     func(t *test, from *node, to talker)
}

var (
	byRoute = switcher{what: "no route to the peer's address", lossless: true,
		away: func(t *test, from *node, to talker) {
			t.lab.must(run("", "ip", "-n", from.ns, "route", "add", "unreachable", to.at().outside))
		},
		back: func(t *test, from *node, to talker) {
			t.lab.must(run("", "ip", "-n", from.ns, "route", "del", "unreachable", to.at().outside))
		}}
	byRebind = switcher{what: "new sockets", lossless: true,
		away: func(t *test, from *node, to talker) { from.cliOK("debug", "rebind") }}
	byCut = switcher{what: "the path is cut",
		away: func(t *test, from *node, to talker) { from.router.shut(cutPeers) },
		back: func(t *test, from *node, to talker) { from.router.shut() }}
)

// switches moves a path away and back again, many times, under 500 datagrams
// a second each way.
func switches(by switcher, other string) func(*test) {
	return func(t *test) {
		a, b := pairAt(t, easyNAT, "ours", other)
		from := a.(*node)
		before := t.lab.relayDropped()
		fl := startFlow(t, from, b, 2*time.Millisecond, 0)
		t.wantDirect(from, b, t.directLimit(), "at first")
		start := time.Now()
		for range t.runner.switches / 2 {
			time.Sleep(rand.N(300 * time.Millisecond))
			by.away(t, from, b)
			if by.back != nil {
				t.await(backLimit, "the path leads over the relay", func() bool { return from.path(b.addr()) == "" })
				time.Sleep(rand.N(300 * time.Millisecond))
				by.back(t, from, b)
			}
			t.wantDirect(from, b, patience, "after a switch")
		}
		took := time.Since(start)
		res, got := fl.stop()
		there, dropped := res.Sent-got.Got, t.lab.relayDropped()-before
		t.figure("%s, ours with %s, %d switches in %.0f s: of %d packets lost %d there, %d back; came twice %d there, %d back; the relay dropped %d",
			by.what, other, t.runner.switches, took.Seconds(), res.Sent, there, res.Lost-there, got.Twice, res.Twice, dropped)
		if by.what == byCut.what {
			t.figure("lost in a row:%s", res.gaps())
		}
		if got.Twice+res.Twice > 0 {
			t.fault("packets came twice")
		}
		lost := res.Lost
		if other == "tsnet" {
			lost = there // it drops by itself what it cannot hand to the relay
		}
		if by.lossless && lost > dropped {
			t.fault("lost %d packets, the relay dropped %d:%s; dropped: %s", lost, dropped, res.gaps(), dropsOf(a, b))
		}
	}
}
