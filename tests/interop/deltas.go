package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// madeUpNode is a node that only the map knows.
func madeUpNode(id int64, name string) *tailcfg.Node {
	ip := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 9, byte(id)}), 32)
	online := true
	return &tailcfg.Node{
		ID:                tailcfg.NodeID(id),
		StableID:          tailcfg.StableNodeID(fmt.Sprintf("made-up-%d", id)),
		Name:              name + ".interop.example.",
		User:              1,
		Key:               key.NewNode().Public(),
		Machine:           key.NewMachine().Public(),
		DiscoKey:          key.NewDisco().Public(),
		Addresses:         []netip.Prefix{ip},
		AllowedIPs:        []netip.Prefix{ip},
		HomeDERP:          1,
		Hostinfo:          (&tailcfg.Hostinfo{OS: "linux", Hostname: name}).View(),
		Cap:               tailcfg.CurrentCapabilityVersion,
		MachineAuthorized: true,
		Online:            &online,
	}
}

// peerDeltas: peers added, changed and removed by every form of delta.
func peerDeltas(t *test) {
	l := newLab(t, "-regions", "2")
	a := l.addNode("alpha", public)
	b := l.addNode("beta", public)
	a.up()
	b.up()
	a.awaitReachable(b.ip)
	self := a.status().Self.PublicKey.String()
	send := func(resp *tailcfg.MapResponse) {
		raw, err := json.Marshal(resp)
		l.must(err)
		l.server("map", serverArgs{Node: self, Response: raw}, nil)
	}
	shown := func(n *tailcfg.Node, what string, fits func(*ipnstate.PeerStatus) bool) {
		a.awaitPeer(n.Addresses[0].Addr().String(), what, 5*time.Second, fits)
	}
	gone := func(ip string) {
		t.await(5*time.Second, "alpha: peer "+ip+" is gone", func() bool { return a.peer(ip) == nil })
	}

	red, blue := madeUpNode(901, "red"), madeUpNode(902, "blue")
	send(&tailcfg.MapResponse{PeersChanged: []*tailcfg.Node{red, blue}})
	shown(red, "is added", func(p *ipnstate.PeerStatus) bool {
		return p.DNSName == "red.interop.example." && p.Online && p.Relay == "test1" && p.PublicKey == red.Key
	})
	shown(blue, "is added", func(p *ipnstate.PeerStatus) bool { return p.DNSName == "blue.interop.example." })

	newKey := key.NewNode().Public()
	offline := false
	send(&tailcfg.MapResponse{PeersChangedPatch: []*tailcfg.PeerChange{
		{NodeID: red.ID, DERPRegion: 2, Online: &offline, Key: &newKey},
	}})
	shown(red, "is patched", func(p *ipnstate.PeerStatus) bool {
		return p.Relay == "test2" && !p.Online && p.PublicKey == newKey && p.DNSName == "red.interop.example."
	})
	send(&tailcfg.MapResponse{OnlineChange: map[tailcfg.NodeID]bool{red.ID: true, blue.ID: false}})
	shown(red, "is online", func(p *ipnstate.PeerStatus) bool { return p.Online })
	shown(blue, "is offline", func(p *ipnstate.PeerStatus) bool { return !p.Online })

	blue = blue.Clone()
	blue.Name = "navy.interop.example."
	blue.AllowedIPs = append(blue.AllowedIPs, netip.MustParsePrefix("198.18.7.0/24"))
	blue.PrimaryRoutes = []netip.Prefix{netip.MustParsePrefix("198.18.7.0/24")}
	send(&tailcfg.MapResponse{PeersChanged: []*tailcfg.Node{blue}})
	shown(blue, "is renamed and routes a prefix", func(p *ipnstate.PeerStatus) bool {
		return p.DNSName == "navy.interop.example." && p.PrimaryRoutes != nil && p.PrimaryRoutes.Len() == 1
	})

	send(&tailcfg.MapResponse{PeersRemoved: []tailcfg.NodeID{red.ID}})
	gone(red.Addresses[0].Addr().String())
	shown(blue, "is still there", func(p *ipnstate.PeerStatus) bool { return true })

	peerComesBack(t, a, b, send, gone)
}

// peerComesBack: a living peer is cut off when it is removed, and talks
// again when it is added.
func peerComesBack(t *test, a, b *node, send func(*tailcfg.MapResponse), gone func(string)) {
	var living tailcfg.Node
	t.lab.server("node", serverArgs{Node: b.status().Self.PublicKey.String()}, &living)
	send(&tailcfg.MapResponse{PeersRemoved: []tailcfg.NodeID{living.ID}})
	gone(b.ip)
	if got := a.ping(b.ip, 5); got.replies() != 0 {
		t.fatalf("a removed peer answered %d of %d echo requests", got.replies(), len(got.Sent))
	}
	send(&tailcfg.MapResponse{PeersChanged: []*tailcfg.Node{&living}})
	a.awaitReachable(b.ip)
}
