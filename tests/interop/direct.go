package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// directLimit: a path must be direct well before five seconds, when the
// reference sends its next round of pings, unless it is the reference that is
// looked at.  How fast it really was is reported.
func (t *test) directLimit() time.Duration {
	if t.runner.reference {
		return 8 * time.Second
	}
	return 4 * time.Second
}

// natLab has 40 ms round-trip time between two sites, 20 to the servers.
func natLab(t *test) *lab {
	l := newLab(t)
	l.delay = 10 * time.Millisecond
	return l
}

// upgrade is how long one path took, counted from the first packet.
type upgrade struct {
	connect      float64 // s until the TCP connection stood (over the relay)
	dialer, peer float64 // s until each side sent directly
}

func directOursOurs(t *test) {
	l := natLab(t)
	a := l.addNode("alpha", easyNAT)
	b := l.addNode("beta", easyNAT)
	a.up()
	b.up()
	measureUpgrades(t, a, b, a)
	measureUpgrades(t, b, a, b)
}

func directOursToTsnet(t *test) {
	l := natLab(t)
	a := l.addNode("alpha", easyNAT)
	a.up()
	measureUpgrades(t, a, l.addPeer("gopher", easyNAT), a)
}

func directTsnetToOurs(t *test) {
	l := natLab(t)
	a := l.addNode("alpha", easyNAT)
	a.up()
	measureUpgrades(t, l.addPeer("gopher", easyNAT), a, a)
}

// measureUpgrades repeats: both start anew, from dials to, the path becomes
// direct.  shown is one of the two whose CLI must say so.
func measureUpgrades(t *test, from, to talker, shown *node) {
	var ups []upgrade
	for range t.runner.runs {
		ups = append(ups, measureUpgrade(t, from, to, shown))
	}
	t.figure("%s to %s, %d runs, seconds from the first packet, median (worst): connected %s, %s direct %s, %s direct %s",
		from.title(), to.title(), len(ups),
		spread(ups, func(u upgrade) float64 { return u.connect }),
		from.title(), spread(ups, func(u upgrade) float64 { return u.dialer }),
		to.title(), spread(ups, func(u upgrade) float64 { return u.peer }))
}

func spread(ups []upgrade, of func(upgrade) float64) string {
	var v []float64
	for _, u := range ups {
		v = append(v, of(u))
	}
	slices.Sort(v)
	return fmt.Sprintf("%.2f (%.2f)", v[len(v)/2], v[len(v)-1])
}

// other returns that of a and b which is not n.
func other(n *node, a, b talker) talker {
	if a.title() == n.title() {
		return b
	}
	return a
}

func measureUpgrade(t *test, from, to talker, shown *node) upgrade {
	settleOnRelay(t, from, to, shown)
	var start int64
	t.helperErr(from.service().call("chat-start", endArgs{ID: 1, Addr: to.addr(), Interval: 20 * time.Millisecond},
		&start, 5*time.Second))
	type seen struct {
		at  int64
		err error
	}
	fromSeen, toSeen := make(chan seen, 1), make(chan seen, 1)
	go func() {
		at, err := from.awaitDirect(to.addr(), t.directLimit())
		fromSeen <- seen{at, err}
	}()
	go func() {
		at, err := to.awaitDirect(from.addr(), t.directLimit())
		toSeen <- seen{at, err}
	}()
	f, o := <-fromSeen, <-toSeen
	line := shown.statusLine(other(shown, from, to).addr())
	var chat chatResult
	t.helperErr(from.service().call("chat-stop", endArgs{ID: 1, Timeout: 3 * time.Second}, &chat, 5*time.Second))
	time.Sleep(200 * time.Millisecond) // the connection's last packets
	if chat.Error != "" || len(chat.Replies) == 0 {
		t.fatalf("%s to %s: no connection: %s", from.title(), to.title(), chat.Error)
	}
	t.helperErr(f.err)
	t.helperErr(o.err)
	if !strings.Contains(line, "active; direct "+other(shown, from, to).nat()+":") {
		t.fatalf("%s: status says %q", shown.title(), line)
	}
	since := func(at int64) float64 { return float64(at-start) / 1e9 }
	return upgrade{connect: since(chat.Replies[0]), dialer: since(f.at), peer: since(o.at)}
}

// settleOnRelay restarts both until nothing has passed between them yet.  An
// end that had a session shakes hands by itself with the other's new process,
// and so the path may be direct before the first packet.
func settleOnRelay(t *test, from, to talker, shown *node) {
	for range 5 {
		settle(t, from, to)
		p := shown.peer(other(shown, from, to).addr())
		if p == nil {
			t.fatalf("%s does not know the other", shown.title())
		}
		if p.CurAddr == "" && p.RxBytes == 0 && p.TxBytes == 0 {
			return
		}
	}
	t.fatalf("%s: the other was talked to before the first packet, five times", shown.title())
}

// settle restarts both and waits until the server has told each of the
// other's new endpoints, so that only the path itself is measured.
func settle(t *test, ends ...talker) {
	l := t.lab
	for _, e := range ends {
		before := l.node(e.addr())
		e.restart()
		t.await(15*time.Second, e.title()+": fresh endpoints at the server", func() bool {
			n := l.node(e.addr())
			mapped := slices.ContainsFunc(n.Endpoints, func(ep string) bool { return strings.HasPrefix(ep, e.nat()+":") })
			fresh := n.Polls > before.Polls && !slices.Equal(n.Endpoints, before.Endpoints)
			return fresh && mapped && n.Polling && n.OnRelay && n.HomeDERP == 1
		})
	}
	time.Sleep(300 * time.Millisecond)
}
