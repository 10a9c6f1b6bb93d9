package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// The network of a lab: hosts and routers, plugged into segments.  The first
// segment is the internet, the others lie behind a router each.

// A siteKind is how a host reaches the internet.
type siteKind int

const (
	public     siteKind = iota // straight on the bridge
	firewalled                 // as public, but hears only whom it spoke to
	easyNAT                    // endpoint-independent mapping, filtered by address and port
	addrNAT                    // as easyNAT, but filtered by address alone
	coneNAT                    // as easyNAT, but not filtered: a full cone
	hardNAT                    // another outside port for each destination
	forwardNAT                 // as hardNAT, and the owner forwards fixedPort to the first host
	mappedNAT                  // as easyNAT, and hosts that ask get a port of their own
	udpBlocked                 // as easyNAT, and no UDP gets through
)

// fixedPort is that of a host whose router's owner forwards a port to it.
const fixedPort = 41641

// families are the versions of IP that a host has.
type families int

const (
	onlyV4 families = 1
	onlyV6 families = 2
	dual            = onlyV4 | onlyV6
)

// A segment is an Ethernet in the namespace ns.  Its first address is the
// gateway's.
type segment struct {
	ns, bridge string
	v4, v6     string        // what its addresses begin with; v6 "": it has none
	used       int           // addresses given so far
	delay      time.Duration // one way, for what is plugged in from now on
}

// A router joins segments behind it with the one it is plugged into.
type router struct {
	lab     *lab
	kind    siteKind
	number  int
	ns      string
	outside string // its address on the segment above
	lans    int
}

// site is a host namespace with a helper process in it.
type site struct {
	lab     *lab
	name    string
	ns      string
	outside string // address as the internet sees it
	v4, v6  string // its own addresses
	fam     families
	router  *router // its own; nil: none
	port    int     // UDP port of the node there; 0: any
	helper  *child
}

// takeAddr gives out the next address of the segment.
func (s *segment) takeAddr() int {
	s.used++
	return s.used
}

// plug joins interface dev of namespace ns to the segment and gives it an
// address of each family and a default route.  It returns the addresses.
func (l *lab) plug(ns, dev string, on *segment, fam families) (v4, v6 string) {
	n := on.takeAddr()
	port := fmt.Sprintf("%s-%d", on.bridge, n)
	if on.delay != 0 {
		name := strings.TrimPrefix(ns, l.prefix)
		w, err := startChild(name+" wire", filepath.Join(l.dir, name+"-wire.log"),
			[]string{l.t.runner.self, "wire", ns, dev, on.ns, port, on.delay.String()})
		l.must(err)
		l.stops = append(l.stops, w.stop)
		l.must(w.call("ready", nil, nil, 5*time.Second))
	} else {
		l.must(run("", "ip", "-n", ns, "link", "add", dev, "type", "veth", "peer", "name", port, "netns", on.ns))
	}
	l.must(run(fmt.Sprintf("link set %s up master %s\n", port, on.bridge), "ip", "-n", on.ns, "-batch", "-"))
	batch := fmt.Sprintf("link set %s up\n", dev)
	if fam&onlyV4 != 0 {
		v4 = fmt.Sprintf("%s%d", on.v4, n)
		batch += fmt.Sprintf("addr add %s/24 dev %s\nroute add default via %s1\n", v4, dev, on.v4)
	}
	if fam&onlyV6 != 0 && on.v6 != "" {
		v6 = fmt.Sprintf("%s%x", on.v6, n)
		batch += fmt.Sprintf("addr add %s/64 dev %s nodad\nroute add default via %s1\n", v6, dev, on.v6)
	}
	l.must(run(batch, "ip", "-n", ns, "-batch", "-"))
	return v4, v6
}

// What a router or a host's own firewall does with packets.  "learn" knows
// which inner host has which outside port, all of which are kept by the
// mapping, and to whom it spoke; only kinds that let strangers in, and
// hairpins, look there.
const edgeRules = `
table inet edge {
	map owner {
		type inet_service : ipv4_addr
		flags dynamic,timeout
		timeout 5m
	}
	set heard {
		type inet_service . ipv4_addr
		flags dynamic,timeout
		timeout 5m
	}
	chain learn {
		type filter hook prerouting priority mangle
		iifname "lan*" meta nfproto ipv4 meta l4proto udp update @owner { udp sport : ip saddr }
		iifname "lan*" meta nfproto ipv4 meta l4proto udp update @heard { udp sport . ip daddr }
	}
	chain inwards {
		type nat hook prerouting priority dstnat
		%s
	}
	chain outwards {
		type nat hook postrouting priority srcnat
		%s
	}
	chain shut {
	}
	chain to_self {
		type filter hook input priority filter
		iifname "wan" meta l4proto ipv6-icmp accept
		iifname "wan" ct state established,related accept
		iifname "wan" drop
		ip daddr %s meta l4proto udp drop
	}
	chain through {
		type filter hook forward priority filter
		jump shut
		ct state established,related accept
		ct status dnat accept
		iifname "wan" drop
		oifname "lan*" drop
	}
}
`

// addRouter makes a router of the given kind.  With hairpin, hosts behind it
// reach each other's outside addresses.
func (l *lab) addRouter(name string, kind siteKind, on *segment, hairpin bool) *router {
	l.routers++
	r := &router{lab: l, kind: kind, number: l.routers, ns: l.addNS(name, "")}
	fam := onlyV4
	if l.inet.v6 != "" && on == l.inet {
		fam = dual
	}
	var v6 string
	r.outside, v6 = l.plug(r.ns, "wan", on, fam)
	if v6 != "" {
		l.must(run(fmt.Sprintf("route add 2001:db8:%x::/48 via %s\n", r.number, v6), "ip", "-n", on.ns, "-batch", "-"))
	}
	var in []string
	out := []string{`oifname "wan" meta nfproto ipv4 masquerade`}
	toOwner := `dnat ip to udp dport map @owner`
	switch kind {
	case addrNAT:
		in = append(in, `iifname "wan" udp dport . ip saddr @heard `+toOwner)
	case coneNAT:
		in = append(in, `iifname "wan" meta nfproto ipv4 meta l4proto udp `+toOwner)
	case mappedNAT:
		r.useMappedIP()
		out[0] = `oifname "wan" meta nfproto ipv4 snat ip to ` + mappedIP
	case forwardNAT:
		in = append(in, fmt.Sprintf(`iifname "wan" meta nfproto ipv4 udp dport %d dnat ip to 10.%d.1.2`, fixedPort, r.number))
		fallthrough
	case hardNAT:
		out[0] += " random,fully-random"
	}
	if hairpin {
		in = append(in, fmt.Sprintf(`iifname "lan*" ip daddr %s meta l4proto udp %s`, r.outside, toOwner))
		out = append(out, `iifname "lan*" oifname "lan*" ct status dnat snat ip to `+r.outside)
	}
	l.must(run(fmt.Sprintf(edgeRules, strings.Join(in, "\n"), strings.Join(out, "\n"), r.outside), inNS(r.ns, "nft", "-f", "-")...))
	l.must(run("", inNS(r.ns, l.t.runner.self, "forward")...))
	if kind == udpBlocked {
		r.shut("meta l4proto udp drop")
	}
	return r
}

// shut replaces the rules of what the router lets through, by none: all
// that its kind does.
func (r *router) shut(rules ...string) {
	script := "flush chain inet edge shut\n"
	for _, rule := range rules {
		script += "add rule inet edge shut " + rule + "\n"
	}
	r.lab.must(run(script, inNS(r.ns, "nft", "-f", "-")...))
}

// addLAN gives the router a segment of its own, with private addresses or
// those that a carrier gives its customers.
func (r *router) addLAN(carrier bool) *segment {
	r.lans++
	s := &segment{ns: r.ns, bridge: fmt.Sprintf("lan%d", r.lans), v4: fmt.Sprintf("10.%d.%d.", r.number, r.lans), used: 1}
	if carrier {
		s.v4 = fmt.Sprintf("100.%d.%d.", 72+r.number, r.lans)
	}
	batch := fmt.Sprintf("link add %s address 02:00:00:00:%02x:%02x type bridge\nlink set %s up\naddr add %s1/24 dev %s\n",
		s.bridge, r.number, r.lans, s.bridge, s.v4, s.bridge)
	if r.lab.inet.v6 != "" {
		s.v6 = fmt.Sprintf("2001:db8:%x:%x::", r.number, r.lans)
		batch += fmt.Sprintf("addr add %s1/64 dev %s nodad\n", s.v6, s.bridge)
	}
	r.lab.must(run(batch, "ip", "-n", r.ns, "-batch", "-"))
	// Where the kernel shows bridged frames to the firewall, hosts of one LAN still reach each other.
	r.lab.must(run("", inNS(r.ns, "nft", fmt.Sprintf(`insert rule inet edge through iifname %q oifname %q accept`, s.bridge, s.bridge))...))
	return s
}

// addHost makes a host on a segment and starts its helper.  r is the
// outermost router it is behind, nil if none.
func (l *lab) addHost(name string, on *segment, r *router, fam families) *site {
	s := &site{lab: l, name: name, fam: fam, ns: l.addNS(name, "")}
	dev := "eth0"
	if on == l.inet {
		dev = "wan"
	}
	v4, v6 := l.plug(s.ns, dev, on, fam)
	s.v4, s.v6 = v4, v6
	s.outside = cmp.Or(v4, v6)
	if r != nil && v4 != "" {
		s.outside = r.outside
	}
	c, err := startChild(name+" helper", filepath.Join(l.dir, name+"-helper.log"), inNS(s.ns, l.t.runner.self, "host"))
	l.must(err)
	s.helper = c
	l.stops = append(l.stops, c.stop)
	l.must(c.call("listen", endArgs{}, nil, 5*time.Second))
	return s
}

// control is where the host reaches the control server.
func (s *site) control() string {
	if s.fam&onlyV4 == 0 {
		return controlURL6
	}
	return controlURL
}

const hostFirewall = `
table inet own {
	chain to_self {
		type filter hook input priority filter
		ct state established,related accept
		meta l4proto ipv6-icmp accept
		iifname { "wan", "eth0" } drop
	}
}
`

// ownFirewall lets in only answers to what the host sent.
func (s *site) ownFirewall() {
	s.lab.must(run(hostFirewall, inNS(s.ns, "nft", "-f", "-")...))
}

// addSite makes a host of the given kind, behind a router of its own where
// there is one, and starts its helper.
func (l *lab) addSite(name string, kind siteKind) *site {
	fam := onlyV4
	if l.inet.v6 != "" {
		fam = dual
	}
	switch kind {
	case public:
		return l.addHost(name, l.inet, nil, fam)
	case firewalled:
		s := l.addHost(name, l.inet, nil, fam)
		s.ownFirewall()
		return s
	}
	r := l.addRouter(name+"-nat", kind, l.inet, false)
	lan := r.addLAN(false)
	if kind == mappedNAT {
		r.startMapper()
	}
	s := l.addHost(name, lan, r, fam)
	if kind == forwardNAT {
		s.port = fixedPort
	}
	s.router = r
	return s
}
