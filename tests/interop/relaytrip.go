package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

// How long a round trip over the relay takes, whatever the nodes do: two bare
// clients of the relay, at the two hosts, with keys of their own.  One sends
// what comes to it back to where it came from.

const (
	relayPort     = 8443
	relayTrips    = 5
	relayTripSize = flowSize + 60 // a datagram of a flow with all that is around it
)

// relayClient is such a client; those that it asked come back on came, others
// are answered.
type relayClient struct {
	*derphttp.Client
	asks atomic.Bool
	came chan struct{}
}

// relayJoin makes the end a client of the relay at a.Addr and returns its public key.
func (e *end) relayJoin(a endArgs) (string, error) {
	node := &tailcfg.DERPNode{Name: "1a", RegionID: 1, HostName: a.Addr, IPv4: a.Addr, IPv6: "none",
		DERPPort: relayPort, InsecureForTests: true}
	if strings.Contains(a.Addr, ":") {
		node.IPv4, node.IPv6 = "none", a.Addr
	}
	region := &tailcfg.DERPRegion{RegionID: 1, RegionCode: "trip", Nodes: []*tailcfg.DERPNode{node}}
	k := key.NewNode()
	c := &relayClient{came: make(chan struct{}, relayTrips),
		Client: derphttp.NewRegionClient(k, logger.Discard, netmon.NewStatic(), func() *tailcfg.DERPRegion { return region })}
	ctx, cancel := context.WithTimeout(context.Background(), a.Timeout)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return "", err
	}
	e.relayLeave()
	e.mu.Lock()
	e.relay = c
	e.mu.Unlock()
	go c.take()
	return k.Public().String(), nil
}

func (c *relayClient) take() {
	for {
		m, err := c.Recv()
		if err != nil {
			return
		}
		p, ok := m.(derp.ReceivedPacket)
		if ok && c.asks.Load() {
			c.came <- struct{}{}
		} else if ok {
			c.Send(p.Source, p.Data)
		}
	}
}

// relayTrip is the median round trip, in seconds, to the client with key a.Addr.
func (e *end) relayTrip(a endArgs) (float64, error) {
	var to key.NodePublic
	if err := to.UnmarshalText([]byte(a.Addr)); err != nil {
		return 0, err
	}
	e.mu.Lock()
	c := e.relay
	e.mu.Unlock()
	if c == nil {
		return 0, fmt.Errorf("not at the relay")
	}
	c.asks.Store(true)
	var trips []float64
	for range relayTrips {
		start := time.Now()
		if err := c.Send(to, make([]byte, relayTripSize)); err != nil {
			return 0, err
		}
		select {
		case <-c.came:
			trips = append(trips, time.Since(start).Seconds())
		case <-time.After(a.Timeout):
			return 0, fmt.Errorf("nothing came back by the relay in %v", a.Timeout)
		}
	}
	slices.Sort(trips)
	return trips[len(trips)/2], nil
}

func (e *end) relayLeave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.relay != nil {
		e.relay.Close()
	}
	e.relay = nil
}

// relay is where the host reaches the relay.
func (s *site) relay() string {
	if s.fam&onlyV4 == 0 {
		return serverIPv6
	}
	return serverIP
}

// relayTrip measures it between two hosts of a lab.
func relayTrip(t *test, from, to talker) (trip float64) {
	var keys [2]string
	for i, at := range []talker{to, from} { // a client is not known to the relay at once when it is connected
		t.helperErr(at.service().call("relay-join", endArgs{Addr: at.at().relay(), Timeout: 5 * time.Second}, &keys[i],
			10*time.Second))
	}
	t.helperErr(from.service().call("relay-trip", endArgs{Addr: keys[0], Timeout: 5 * time.Second}, &trip, 30*time.Second))
	for _, at := range []talker{from, to} {
		t.helperErr(at.service().call("relay-leave", endArgs{}, nil, 5*time.Second))
	}
	return trip
}
