package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// A plain peer is a host with the Go WireGuard engine: the map says of it
// that it knows WireGuard and nothing else.
type plainPeer struct {
	*site
	ip   string
	port int
}

const (
	plainTUN = "wg0"
	plainMTU = 1280
)

// engineStart runs the engine in this process on a TUN device of its own.
func (h *host) engineStart(config string) error {
	t, err := tun.CreateTUN(plainTUN, plainMTU)
	if err != nil {
		return err
	}
	h.engine = device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "engine: "))
	if err := h.engine.IpcSet(config); err != nil {
		return err
	}
	return h.engine.Up()
}

func rawKey(text string) string { return text[strings.LastIndexByte(text, ':')+1:] }

// addPlain starts the engine for one peer, which has to call it, and tells
// that one of it: reached at `at` first, where nobody is.
func (l *lab) addPlain(name string, kind siteKind, us *node, at string) *plainPeer {
	t := l.t
	p := &plainPeer{site: l.addSite(name, kind), ip: "100.81.0.1", port: 51820}
	priv := key.NewNode()
	text, err := priv.MarshalText()
	l.must(err)
	theirs := l.node(us.ip).Key
	t.helperErr(p.helper.call("engine-start", endArgs{Text: fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nallowed_ip=%s/32\n",
		rawKey(string(text)), p.port, rawKey(theirs), us.ip)}, nil, 5*time.Second))
	l.must(run(fmt.Sprintf("addr add %s/32 dev %s\nlink set %s up\nroute add %s/32 dev %s\n", p.ip, plainTUN, plainTUN,
		us.ip, plainTUN), "ip", "-n", p.ns, "-batch", "-"))

	addrs := []netip.Prefix{netip.MustParsePrefix(p.ip + "/32")}
	raw, err := json.Marshal(&tailcfg.MapResponse{PeersChanged: []*tailcfg.Node{{
		ID: firstFakeID, StableID: "nPLAIN", Name: name + ".interop.example.", User: 1000, Key: priv.Public(),
		Addresses: addrs, AllowedIPs: addrs, IsWireGuardOnly: true, MachineAuthorized: true,
		Endpoints: []netip.AddrPort{netip.MustParseAddrPort(at), netip.MustParseAddrPort(p.outside + ":" + strconv.Itoa(p.port))},
		Hostinfo:  (&tailcfg.Hostinfo{}).View(),
	}}})
	l.must(err)
	l.server("map", serverArgs{Node: theirs, Response: raw}, nil)
	us.awaitPeer(p.ip, "is known", 5*time.Second, func(*ipnstate.PeerStatus) bool { return true })
	return p
}

func (p *plainPeer) addr() string    { return p.ip }
func (p *plainPeer) service() *child { return p.helper }

// move makes the engine use another port, as a NAT that restarts would.
func (p *plainPeer) move() {
	p.port++
	p.lab.t.helperErr(p.helper.call("engine-set", endArgs{Text: fmt.Sprintf("listen_port=%d\n", p.port)}, nil, 5*time.Second))
}

// transferPlain moves 100 MiB (-mib) each way between our node and the Go
// engine, found at the second of two addresses; then the engine moves.
func transferPlain(t *test) {
	l := newLab(t)
	a := l.addNode("alpha", coneNAT)
	a.up()
	p := l.addPlain("engine", public, a, serverIP+":9")
	start := time.Now()
	t.await(10*time.Second, "the engine answers at its second address", func() bool {
		return a.ping(p.ip, 1).Reply[0] != 0
	})
	t.figure("first answer %.2f s after the first packet; an address without WireGuard came first", time.Since(start).Seconds())
	exchange(t, a, p, "the engine", "direct "+p.outside+":"+strconv.Itoa(p.port), true)

	p.move()
	// It speaks first from its new port: that is how we learn of it, where the NAT lets it in.
	var res transferResult
	t.helperErr(p.helper.call("transfer", endArgs{Addr: a.ip, Size: 1 << 20, Seed: 9, Timeout: 20 * time.Second}, &res, 25*time.Second))
	if res.Sent != res.Received {
		t.fatalf("after the move: sent SHA-256 %s, received %s", res.Sent, res.Received)
	}
	want := "direct " + p.outside + ":" + strconv.Itoa(p.port)
	if line := a.statusLine(p.ip); !strings.Contains(line, want) {
		t.fatalf("after the move: status says %q, want %q", line, want)
	}
	if n := a.peer(p.ip); n == nil || n.Relay != "" {
		t.fatalf("a plain peer has no relay: %+v", n)
	}
}
