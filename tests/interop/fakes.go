package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"tailscale.com/net/tsaddr"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// firstFakeID keeps fake nodes apart from those that register, which the
// control server numbers from 1.
const firstFakeID = 100_000

// fakeNode is node number i of a large tailnet: nobody answers there, but
// the map says of it what it says of a living one.
func fakeNode(i int) *tailcfg.Node {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 100<<24|80<<16+uint32(i)) // 100.80.0.0/12
	ip4 := netip.AddrFrom4(a)
	ip6 := tsaddr.Tailscale4To6(ip4)
	addrs := []netip.Prefix{netip.PrefixFrom(ip4, 32), netip.PrefixFrom(ip6, 128)}
	created := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Minute)
	online := true
	name := fmt.Sprintf("host-%05d", i)
	return &tailcfg.Node{
		ID:       tailcfg.NodeID(firstFakeID + i),
		StableID: tailcfg.StableNodeID(fmt.Sprintf("nFAKE%06dCNTRL", i)),
		Name:     name + ".interop.example.",
		User:     tailcfg.UserID(1000 + i%50),
		Key:      key.NewNode().Public(),
		Machine:  key.NewMachine().Public(),
		DiscoKey: key.NewDisco().Public(),
		// A new key each half year.
		KeyExpiry:  time.Now().Add(180 * 24 * time.Hour).UTC().Truncate(time.Second),
		Addresses:  addrs,
		AllowedIPs: addrs,
		Endpoints: []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, a[2], a[3]}), 41641),
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, a[2], a[3]}), 41641),
			netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0xff, 14: a[2], 15: a[3]}), 41641),
		},
		HomeDERP: 1,
		Hostinfo: (&tailcfg.Hostinfo{
			OS:        "linux",
			OSVersion: "6.1.0-28-amd64",
			Hostname:  name,
			Services: []tailcfg.Service{
				{Proto: tailcfg.PeerAPI4, Port: 40000 + uint16(i%20000)},
				{Proto: tailcfg.PeerAPI6, Port: 40000 + uint16(i%20000)},
				{Proto: tailcfg.PeerAPIDNS, Port: 1},
			},
		}).View(),
		Created: created,
		Cap:     tailcfg.CurrentCapabilityVersion,
		CapMap: tailcfg.NodeCapMap{
			tailcfg.CapabilityFileSharing:   nil,
			tailcfg.NodeAttrSuggestExitNode: nil,
		},
		MachineAuthorized: true,
		Online:            &online,
	}
}

// addFakes is called once a node has registered: before that the control
// server has nowhere to put others.
func (s *servers) addFakes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.fakes {
		s.control.UpdateNode(fakeNode(i))
	}
	s.fakes = 0
}

// hold keeps streaming map requests unanswered until it is called with
// false: so that one can tell what a map costs from all that came before.
func (s *servers) hold(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case on && s.held == nil:
		s.held = make(chan struct{})
	case !on && s.held != nil:
		close(s.held)
		s.held = nil
	}
}
