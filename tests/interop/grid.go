package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/ipn/ipnstate"
)

// The grid: for each pair of ways to reach the internet, and each pair of
// ours and tsnet, whether the path becomes direct, how soon, and what is
// lost before.  A row has the side that speaks first on the left.

type outcome int

const (
	relayed outcome = iota
	direct
	found // between two of ours mostly direct, by a search that may miss; else relayed
)

// Two hosts of a lab, and where their path must lead.
type placed struct {
	from, to *site
	fromSees string // what the address of the direct path begins with; "": the other's outside address
	toSees   string
}

type gridRow struct {
	name  string
	what  string
	fam   families
	want  outcome
	soon  float64             // bound on seconds to a direct path, for the table; 0: none
	short bool                // part of the short form
	needs func() (why string) // why it cannot run here, "" if it can; nil: always
	place func(*lab) placed
	after func(t *test, from, to talker) // done before the first packet of each run; nil: nothing
}

// directLimit: a path must be direct well before five seconds, when the
// reference sends its next round of pings, unless it is the reference that is
// looked at.  How fast it really was is reported.
func (t *test) directLimit() time.Duration {
	if t.runner.reference {
		return 8 * time.Second
	}
	return 4 * time.Second
}

// apart places each side at a site of its own.
func apart(a, b siteKind) func(*lab) placed {
	return func(l *lab) placed { return placed{from: l.addSite("alpha", a), to: l.addSite("beta", b)} }
}

const (
	easySoon = 0.5
	lanSoon  = 0.1
)

var gridRows = []gridRow{
	{name: "1_public_public", what: "public, public", want: direct, short: true, place: apart(public, public)},
	{name: "2_firewall_firewall", what: "stateful firewalls", want: direct, short: true, place: apart(firewalled, firewalled)},
	{name: "3_easy_easy", what: "EIM/APDF, EIM/APDF", want: direct, soon: easySoon, short: true, place: apart(easyNAT, easyNAT)},
	{name: "4_public_easy", what: "public, EIM/APDF", want: direct, place: apart(public, easyNAT)},
	{name: "4_easy_public", what: "EIM/APDF, public", want: direct, place: apart(easyNAT, public)},
	{name: "4_public_hard", what: "public, EDM", want: direct, short: true, place: apart(public, hardNAT)},
	{name: "4_hard_public", what: "EDM, public", want: direct, place: apart(hardNAT, public)},
	{name: "5_addr_hard", what: "EIM/ADF, EDM", want: direct, short: true, place: apart(addrNAT, hardNAT)},
	{name: "5_hard_addr", what: "EDM, EIM/ADF", want: direct, place: apart(hardNAT, addrNAT)},
	{name: "5_cone_hard", what: "full cone, EDM", want: direct, place: apart(coneNAT, hardNAT)},
	{name: "5_hard_cone", what: "EDM, full cone", want: direct, place: apart(hardNAT, coneNAT)},
	{name: "6_easy_hard", what: "EIM/APDF, EDM", want: found, short: true, place: apart(easyNAT, hardNAT)},
	{name: "6_hard_easy", what: "EDM, EIM/APDF", want: found, place: apart(hardNAT, easyNAT)},
	{name: "7_mapped_hard", what: "EIM/APDF that gives ports, EDM", want: direct, needs: needsMapper,
		place: apart(mappedNAT, hardNAT)},
	{name: "7_hard_mapped", what: "EDM, EIM/APDF that gives ports", want: direct, short: true, needs: needsMapper,
		place: apart(hardNAT, mappedNAT)},
	{name: "8_hard_shut", what: "EDM, EIM/APDF that gives ports to a host with a firewall", want: found, needs: needsMapper,
		place: shut(apart(hardNAT, mappedNAT))},
	{name: "9_hard_hard", what: "EDM, EDM", want: relayed, short: true, place: apart(hardNAT, hardNAT)},
	{name: "10_forward_hard", what: "EDM with a forwarded port, EDM", want: direct, place: apart(forwardNAT, hardNAT)},
	{name: "10_hard_forward", what: "EDM, EDM with a forwarded port", want: direct, short: true, place: apart(hardNAT, forwardNAT)},
	{name: "10_forward_easy", what: "EDM with a forwarded port, EIM/APDF", want: direct, place: apart(forwardNAT, easyNAT)},
	{name: "11_same_lan", what: "same LAN", want: direct, soon: lanSoon, short: true, place: sameLAN},
	{name: "12_hairpin", what: "same NAT, two LANs, hairpin", want: direct, short: true, place: sameNAT(true)},
	{name: "13_no_hairpin", what: "same NAT, two LANs, no hairpin", want: relayed, place: sameNAT(false)},
	{name: "14_blocked_easy", what: "UDP blocked, EIM/APDF", want: relayed, short: true, place: apart(udpBlocked, easyNAT)},
	{name: "14_easy_blocked", what: "EIM/APDF, UDP blocked", want: relayed, place: apart(easyNAT, udpBlocked)},
	{name: "15_v6_hard_hard", what: "IPv6 on both, IPv4 EDM", fam: dual, want: direct, short: true, place: overV6},
	{name: "16_v6_v4", what: "only IPv6, only IPv4", fam: dual, want: relayed, place: unlike(onlyV6, onlyV4)},
	{name: "16_v4_v6", what: "only IPv4, only IPv6", fam: dual, want: relayed, place: unlike(onlyV4, onlyV6)},
	{name: "17_cgnat_easy", what: "EIM/APDF behind a carrier's, EIM/APDF", want: direct, soon: easySoon, short: true,
		place: carried(easyNAT, easyNAT)},
	{name: "17_hard_cgnat_public", what: "EIM/APDF behind a carrier's EDM, public", want: direct, place: carried(hardNAT, public)},
	{name: "18_cgnat_hairpin", what: "both behind the same carrier's NAT, hairpin", want: direct, place: sameCarrier(true)},
	{name: "18_cgnat_no_hairpin", what: "both behind the same carrier's NAT, no hairpin", want: relayed,
		place: sameCarrier(false)},
	{name: "19_unknown_easy", what: "EIM/APDF of which the other knows neither endpoints nor relay, EIM/APDF", want: direct,
		place: apart(easyNAT, easyNAT), after: forget},
}

// shut gives the second host a firewall of its own.
func shut(place func(*lab) placed) func(*lab) placed {
	return func(l *lab) placed {
		p := place(l)
		p.to.ownFirewall()
		return p
	}
}

// forget has the server know nothing of where the first is, and tell so.
func forget(t *test, from, to talker) {
	t.lab.server("forget", serverArgs{Node: t.lab.node(from.addr()).Key}, nil)
	if o, ok := to.(*node); ok {
		o.awaitPeer(from.addr(), "is at no relay", 5*time.Second, func(p *ipnstate.PeerStatus) bool { return p.Relay == "" })
	} else {
		time.Sleep(300 * time.Millisecond)
	}
}

func sameLAN(l *lab) placed {
	r := l.addRouter("nat", easyNAT, l.inet, false)
	lan := r.addLAN(false)
	p := placed{from: l.addHost("alpha", lan, r, onlyV4), to: l.addHost("beta", lan, r, onlyV4)}
	p.fromSees, p.toSees = p.to.v4+":", p.from.v4+":"
	return p
}

func sameNAT(hairpin bool) func(*lab) placed {
	return func(l *lab) placed {
		r := l.addRouter("nat", easyNAT, l.inet, hairpin)
		return placed{from: l.addHost("alpha", r.addLAN(false), r, onlyV4), to: l.addHost("beta", r.addLAN(false), r, onlyV4)}
	}
}

func overV6(l *lab) placed {
	p := apart(hardNAT, hardNAT)(l)
	p.fromSees, p.toSees = "["+p.to.v6+"]:", "["+p.from.v6+"]:"
	return p
}

func unlike(a, b families) func(*lab) placed {
	return func(l *lab) placed {
		return placed{from: l.addHost("alpha", l.inet, nil, a), to: l.addHost("beta", l.inet, nil, b)}
	}
}

// atHome is a host behind a router of its own behind the carrier's.
func atHome(l *lab, name string, carrier *router, net *segment) *site {
	home := l.addRouter(name+"-nat", easyNAT, net, false)
	return l.addHost(name, home.addLAN(false), carrier, onlyV4)
}

func carried(carrier, other siteKind) func(*lab) placed {
	return func(l *lab) placed {
		r := l.addRouter("carrier", carrier, l.inet, false)
		return placed{from: atHome(l, "alpha", r, r.addLAN(true)), to: l.addSite("beta", other)}
	}
}

func sameCarrier(hairpin bool) func(*lab) placed {
	return func(l *lab) placed {
		r := l.addRouter("carrier", easyNAT, l.inet, hairpin)
		return placed{from: atHome(l, "alpha", r, r.addLAN(true)), to: atHome(l, "beta", r, r.addLAN(true))}
	}
}

// pathTests are the grid and what is done to paths, all of them parallel.
func pathTests(long bool) (out []namedTest) {
	for _, row := range gridRows {
		if !row.short && !long {
			continue
		}
		for _, pair := range [][2]string{{"ours", "ours"}, {"ours", "tsnet"}, {"tsnet", "ours"}} {
			out = append(out, namedTest{
				name:     fmt.Sprintf("grid_%s_%s_%s", row.name, pair[0], pair[1]),
				fn:       func(t *test) { gridCell(t, row, pair) },
				parallel: true,
				needs:    row.needs,
			})
		}
	}
	return append(out, cutTests...)
}

// gridRun is one run of a cell; times are seconds after the first packet.
type gridRun struct {
	from, to   float64 // until each side sent directly; 0: it never did
	first      float64 // until the first reply
	trip       float64 // median round trip
	relayTrip  float64 // of bare clients of the relay, just before
	sent, lost int
}

func (l *lab) addTalker(kind string, s *site) talker {
	if kind == "tsnet" {
		return l.addPeerOn(s)
	}
	n := l.addNodeOn(s, false)
	n.up()
	return n
}

func gridCell(t *test, row gridRow, pair [2]string) {
	l := newLabOf(t, cmp.Or(row.fam, onlyV4), "-stun2", secondIP+":"+secondSTUN)
	l.inet.delay = 10 * time.Millisecond
	p := row.place(l)
	from, to := l.addTalker(pair[0], p.from), l.addTalker(pair[1], p.to)
	line := gridLine{row: row, pair: pair[0] + " to " + pair[1]}
	for range t.runner.runs {
		line.runs = append(line.runs, gridOnce(t, row, p, from, to))
	}
	t.figure("%s", line)
	t.runner.mu.Lock()
	t.runner.grid = append(t.runner.grid, line)
	t.runner.mu.Unlock()
	n, least, most := line.directRuns(), 0, len(line.runs)
	switch {
	case row.want == direct:
		least = most
	case row.want == relayed || pair[0] == "tsnet" || pair[1] == "tsnet":
		most = 0
	default:
		least = most*9/10 - 1 // so that one run may miss
	}
	if n < least || n > most {
		t.fatalf("%d of %d runs became direct", n, len(line.runs))
	}
}

// gridOnce starts both anew and follows a flow from its first packet.
func gridOnce(t *test, row gridRow, p placed, from, to talker) gridRun {
	freshPair(t, from, to)
	limit := t.directLimit()
	if row.want == relayed {
		limit = 3 * time.Second
	}
	relayTrip := relayTrip(t, from, to)
	if row.after != nil {
		row.after(t, from, to)
	}
	before := t.lab.relayDropped()
	fl := startFlow(t, from, to, 20*time.Millisecond, 0)
	f, o := awaitBoth(from, to, limit)
	time.Sleep(700 * time.Millisecond)
	res, got := fl.stop()
	if res.First == 0 {
		t.fatalf("none of %d packets was answered, %d came there", res.Sent, got.Got)
	}
	run := gridRun{sent: res.Sent, lost: res.Lost, first: res.First, trip: res.Trip, relayTrip: relayTrip}
	if run.lost > t.lab.relayDropped()-before {
		t.fault("lost %d of %d packets, %d on the way there; after the first:%s; dropped: %s", run.lost, run.sent,
			run.sent-got.Got, res.gaps(), dropsOf(from, to))
	}
	switch {
	case f != 0 && o != 0:
		run.from, run.to = float64(f-fl.start)/1e9, float64(o-fl.start)/1e9
		checkPath(t, from, to, cmp.Or(p.fromSees, hostOf(p.to.outside)))
		checkPath(t, to, from, cmp.Or(p.toSees, hostOf(p.from.outside)))
	case f != 0 || o != 0:
		t.fault("only one side became direct within %v: %s %v, %s %v", limit, from.title(), f != 0, to.title(), o != 0)
	}
	return run
}

// stream is a flow as the runner sees it.
type stream struct {
	t        *test
	id       int
	from, to talker
	start    int64
}

func startFlow(t *test, from, to talker, interval time.Duration, burst int) *stream {
	t.flows++
	s := &stream{t: t, id: t.flows, from: from, to: to}
	t.helperErr(from.service().call("flow-start", endArgs{ID: s.id, Addr: to.addr(), Interval: interval,
		Burst: burst}, &s.start, 5*time.Second))
	return s
}

// stop waits two seconds for what is on its way.
func (s *stream) stop() (res flowResult, got flowTally) {
	s.t.helperErr(s.from.service().call("flow-stop", endArgs{ID: s.id, Timeout: 2 * time.Second}, &res, 10*time.Second))
	s.t.helperErr(s.to.service().call("flow-tally", endArgs{ID: s.id}, &got, 5*time.Second))
	return res, got
}

// hostOf is how an address and port with host ip begin.
func hostOf(ip string) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]:"
	}
	return ip + ":"
}

func checkPath(t *test, a, b talker, want string) {
	if got := a.path(b.addr()); !strings.HasPrefix(got, want) {
		t.fault("%s: the direct path is %q, not to %s", a.title(), got, want)
	}
	if n, ok := a.(*node); ok {
		if line := n.statusLine(b.addr()); !strings.Contains(line, "active; direct "+want) {
			t.fault("%s: status says %q", a.title(), line)
		}
	}
}

// awaitBoth returns when each side was seen direct, 0: not within limit.
func awaitBoth(a, b talker, limit time.Duration) (atA, atB int64) {
	var wg sync.WaitGroup
	wg.Go(func() { atA, _ = a.awaitDirect(b.addr(), limit) })
	wg.Go(func() { atB, _ = b.awaitDirect(a.addr(), limit) })
	wg.Wait()
	return atA, atB
}

// freshPair restarts both, so that neither has a session or a path, and
// waits until the server has the endpoints of the new processes.
func freshPair(t *test, a, b talker) {
	for range 5 {
		before := []nodeSeen{t.lab.node(a.addr()), t.lab.node(b.addr())}
		a.halt()
		b.halt()
		a.boot()
		b.boot()
		for i, e := range []talker{a, b} {
			for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				now := t.lab.node(e.addr())
				if e.at().reported(now, before[i]) {
					break
				}
				if time.Now().After(end) {
					// Of 28,000 ports the same may be taken twice.
					if says(e, now.Endpoints) && e.at().reported(now, nodeSeen{Polls: before[i].Polls}) {
						break
					}
					t.fatalf("%s: no fresh endpoints at the server within 15 s; it had %+v and has %+v", e.title(), before[i], now)
				}
			}
		}
		time.Sleep(300 * time.Millisecond)
		if untouched(t, a, b) && untouched(t, b, a) {
			return
		}
	}
	t.fatalf("the two talked to each other before the first packet, five times")
}

// says tells whether these are the endpoints that our node there names itself.
func says(e talker, endpoints []string) bool {
	n, ok := e.(*node)
	return ok && len(endpoints) > 0 && slices.Equal(slices.Sorted(slices.Values(n.status().Self.Addrs)), slices.Sorted(slices.Values(endpoints)))
}

// reported tells whether the server has all that the node there will say of
// itself since it was in state before.
func (s *site) reported(now, before nodeSeen) bool {
	has := func(prefix string) bool {
		return slices.ContainsFunc(now.Endpoints, func(ep string) bool { return strings.HasPrefix(ep, prefix) })
	}
	mapped := s.v4 == "" || has(s.outside+":") || s.router != nil && s.router.kind == udpBlocked
	// A NAT still knows the port of a node that always takes the same.
	fresh := s.port == 0 && !slices.Equal(now.Endpoints, before.Endpoints) ||
		s.port != 0 && has(fmt.Sprintf("%s:%d", s.outside, s.port))
	if s.router != nil && s.router.kind == mappedNAT && !s.hasMapping(now.Endpoints) {
		return false
	}
	return now.Polls > before.Polls && now.Polling && now.OnRelay && now.HomeDERP == 1 && fresh && mapped &&
		(s.v6 == "" || has("["+s.v6+"]:"))
}

// untouched: nothing has passed between a and b yet.
func untouched(t *test, a, b talker) bool {
	n, ok := a.(*node)
	if !ok {
		return true
	}
	n.awaitPeer(b.addr(), "is known", 5*time.Second, func(p *ipnstate.PeerStatus) bool { return p.Relay != "" })
	p := n.peer(b.addr())
	return p.CurAddr == "" && p.RxBytes == 0 && p.TxBytes == 0
}

// gridLine is a line of the table.
type gridLine struct {
	row  gridRow
	pair string
	runs []gridRun
}

func (g gridLine) directRuns() int {
	n := 0
	for _, r := range g.runs {
		if r.from != 0 && r.to != 0 {
			n++
		}
	}
	return n
}

// middle gives the median and the worst of those that are not 0.
func (g gridLine) middle(format string, scale float64, of func(gridRun) float64) string {
	var v []float64
	for _, r := range g.runs {
		if x := of(r); x != 0 {
			v = append(v, x*scale)
		}
	}
	if len(v) == 0 {
		return "-"
	}
	slices.Sort(v)
	return fmt.Sprintf(format+" ("+format+")", v[len(v)/2], v[len(v)-1])
}

func (g gridLine) cells() []string {
	sent, lost, late := 0, 0, 0
	for _, r := range g.runs {
		sent, lost = sent+r.sent, lost+r.lost
		if g.row.soon != 0 && max(r.from, r.to) > g.row.soon {
			late++
		}
	}
	out := fmt.Sprintf("direct %d/%d", g.directRuns(), len(g.runs))
	if g.directRuns() == 0 {
		out = fmt.Sprintf("relay %d/%d", len(g.runs), len(g.runs))
	}
	bound := ""
	if g.row.soon != 0 {
		bound = fmt.Sprintf("%d over %.1f", late, g.row.soon)
	}
	return []string{strings.SplitN(g.row.name, "_", 2)[0], g.row.what, g.pair, out,
		g.middle("%.0f", 1000, func(r gridRun) float64 { return r.trip }),
		g.middle("%.0f", 1000, func(r gridRun) float64 { return r.relayTrip }),
		g.middle("%.0f", 1000, func(r gridRun) float64 { return r.first }),
		g.middle("%.2f", 1, func(r gridRun) float64 { return r.first / r.relayTrip }),
		g.middle("%.2f", 1, func(r gridRun) float64 { return r.from }),
		g.middle("%.2f", 1, func(r gridRun) float64 { return r.to }), bound, fmt.Sprintf("%d of %d", lost, sent)}
}

func (g gridLine) String() string {
	c := g.cells()
	return fmt.Sprintf("%s; %s: %s; round trip %s ms, over the relay %s ms; first reply %s ms, that is %s relay round trips; "+
		"seconds to direct, first speaker %s, other %s; lost %s",
		c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[11])
}

// writeGrid appends the table of the cells that ran to a file.
func (r *runner) writeGrid(path string) error {
	if path == "" || len(r.grid) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("| row | first speaker, other | who | outcome | round trip, ms: median (worst) | over the relay, ms " +
		"| first reply, ms | in relay round trips | s to direct, first speaker | other | bound | packets lost |\n")
	b.WriteString(strings.Repeat("| --- ", 12) + "|\n")
	slices.SortStableFunc(r.grid, func(a, b gridLine) int { return rowIndex(a.row) - rowIndex(b.row) })
	for _, g := range r.grid {
		b.WriteString("| " + strings.Join(g.cells(), " | ") + " |\n")
	}
	if path == "-" {
		fmt.Print(b.String())
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(b.String()); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func rowIndex(row gridRow) int {
	return slices.IndexFunc(gridRows, func(r gridRow) bool { return r.name == row.name })
}
