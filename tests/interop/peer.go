package main

import (
	"fmt"
	"path/filepath"
	"time"

	"tailscale.com/ipn/ipnstate"
)

// peer is a tsnet node in a site's namespace.
type peer struct {
	*site
	ip   string
	proc *child
}

func (l *lab) addPeer(name string, kind siteKind) *peer {
	p := &peer{site: l.addSite(name, kind)}
	p.start()
	l.stops = append(l.stops, func() { p.proc.stop() })
	return p
}

// start runs the node and waits until it is up and its service listens.
func (p *peer) start() {
	t := p.lab.t
	dir := filepath.Join(p.lab.dir, p.name)
	argv := inNS(p.ns, t.runner.self, "tsnet", "-control", controlURL, "-hostname", p.name, "-dir", dir,
		"-auth-key", authKey)
	c, err := startChild(p.name, filepath.Join(p.lab.dir, p.name+".log"), argv)
	p.lab.must(err)
	p.proc = c
	var st ipnstate.Status
	t.helperErr(c.call("up", endArgs{Timeout: 20 * time.Second}, &st, 25*time.Second))
	p.ip = st.TailscaleIPs[0].String()
	t.helperErr(c.call("listen", endArgs{Port: endPort}, nil, 5*time.Second))
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
	restart()
	title() string
	nat() string
}

func (n *node) addr() string    { return n.ip }
func (n *node) service() *child { return n.helper }
func (n *node) title() string   { return n.name }
func (n *node) nat() string     { return n.outside }
func (n *node) restart() {
	n.stop()
	n.start()
	n.awaitState("Running", 20*time.Second)
}

func (p *peer) addr() string    { return p.ip }
func (p *peer) service() *child { return p.proc }
func (p *peer) title() string   { return p.name }
func (p *peer) nat() string     { return p.outside }
func (p *peer) restart() {
	p.proc.stop()
	p.start()
}
