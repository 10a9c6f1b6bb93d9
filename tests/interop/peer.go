package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"tailscale.com/ipn/ipnstate"
)

// peer is a tsnet node in a site's namespace.
type peer struct {
	*site
	ip   string
	proc *child
}

func (l *lab) addPeer(name string, kind siteKind) *peer { return l.addPeerOn(l.addSite(name, kind)) }

func (l *lab) addPeerOn(s *site) *peer {
	p := &peer{site: s}
	p.start()
	l.stops = append(l.stops, func() { p.proc.stop() })
	return p
}

// start runs the node and waits until it is up and its service listens.
func (p *peer) start() {
	t := p.lab.t
	dir := filepath.Join(p.lab.dir, p.name)
	argv := inNS(p.ns, t.runner.self, "tsnet", "-control", p.control(), "-hostname", p.name, "-dir", dir,
		"-auth-key", authKey, "-port", strconv.Itoa(p.port))
	c, err := startChild(p.name, filepath.Join(p.lab.dir, p.name+".log"), argv)
	p.lab.must(err)
	p.proc = c
	var st ipnstate.Status
	t.helperErr(c.call("up", endArgs{Timeout: 20 * time.Second}, &st, 25*time.Second))
	p.ip = st.TailscaleIPs[0].String()
	t.helperErr(c.call("listen", endArgs{Addr: p.ip}, nil, 5*time.Second))
}

func (p *peer) awaitDirect(ip string, limit time.Duration) (int64, error) {
	var at int64
	err := p.proc.call("await-direct", endArgs{Addr: ip, Timeout: limit}, &at, limit+time.Second)
	if err != nil {
		return 0, fmt.Errorf("%s: path to %s is not direct after %v: %w", p.name, ip, limit, err)
	}
	return at, nil
}

// A talker is a host of the mesh, with our daemon or with tsnet.
type talker interface {
	addr() string
	service() *child // process that speaks TCP for the host
	awaitDirect(ip string, limit time.Duration) (int64, error)
	path(ip string) string // address of the direct path, "" on the relay
	at() *site
	halt() // ends the process
	boot() // and starts another one, which is up then
	title() string
}

func (n *node) addr() string    { return n.ip }
func (n *node) service() *child { return n.helper }
func (n *node) title() string   { return n.name }
func (n *node) at() *site       { return n.site }
func (n *node) halt()           { n.stop() }

func (n *node) boot() {
	n.start()
	n.awaitState("Running", 20*time.Second)
}

func (n *node) path(ip string) string {
	if p := n.peer(ip); p != nil {
		return p.CurAddr
	}
	return ""
}

func (p *peer) addr() string    { return p.ip }
func (p *peer) service() *child { return p.proc }
func (p *peer) title() string   { return p.name }
func (p *peer) at() *site       { return p.site }
func (p *peer) halt()           { p.proc.stop() }

func (p *peer) boot() { p.start() }

func (p *peer) path(ip string) string {
	var st ipnstate.Status
	p.lab.t.helperErr(p.proc.call("status", endArgs{}, &st, 5*time.Second))
	if found := findPeer(&st, netip.MustParseAddr(ip)); found != nil {
		return found.CurAddr
	}
	return ""
}
