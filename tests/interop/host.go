package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.zx2c4.com/wireguard/device"
)

// host is the helper in a host's namespace: an end over the kernel's stack
// and an ICMP pinger.
type host struct {
	end

	engine *device.Device // of a plain peer

	pmu   sync.Mutex
	pings map[int]*pinger
}

// pingResult lists every echo request: when it left and when its reply came
// (0: never), in nanoseconds since 1970.
type pingResult struct {
	Sent  []int64
	Reply []int64
}

type pinger struct {
	conn *icmp.PacketConn
	dst  net.IP
	id   int
	stop chan struct{}
	done chan struct{}

	mu  sync.Mutex
	res pingResult
}

func hostMain() error {
	h := &host{pings: map[int]*pinger{}}
	h.dial = (&net.Dialer{}).DialContext
	h.listen, h.listenPacket = net.Listen, net.ListenPacket
	return rpcServe(os.Stdin, os.Stdout, func(op string, raw json.RawMessage) (any, error) {
		a, err := decodeArgs(raw)
		if err != nil {
			return nil, err
		}
		switch op {
		case "engine-start":
			return nil, h.engineStart(a.Text)
		case "engine-set":
			return nil, h.engine.IpcSet(a.Text)
		case "ping-start":
			return h.pingStart(a)
		case "ping-peek":
			return h.pingPeek(a.ID)
		case "ping-stop":
			return h.pingStop(a.ID, a.Timeout)
		}
		return h.do(op, a)
	})
}

// pingStart sends an echo request each interval until pingStop.
func (h *host) pingStart(a endArgs) (int64, error) {
	conn, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return 0, err
	}
	p := &pinger{
		conn: conn,
		dst:  net.ParseIP(a.Addr),
		id:   (os.Getpid() + a.ID) & 0xffff,
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	h.pmu.Lock()
	h.pings[a.ID] = p
	h.pmu.Unlock()
	go p.receive()
	start := time.Now().UnixNano()
	go p.send(a.Interval)
	return start, nil
}

func (p *pinger) send(interval time.Duration) {
	defer close(p.done)
	for seq := 0; ; seq++ {
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: p.id, Seq: seq, Data: make([]byte, 56)}}
		b, err := m.Marshal(nil)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.res.Sent = append(p.res.Sent, time.Now().UnixNano())
		p.res.Reply = append(p.res.Reply, 0)
		p.mu.Unlock()
		p.conn.WriteTo(b, &net.IPAddr{IP: p.dst})
		select {
		case <-p.stop:
			return
		case <-time.After(interval):
		}
	}
}

func (p *pinger) receive() {
	buf := make([]byte, 1500)
	for {
		n, _, err := p.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		now := time.Now().UnixNano()
		m, err := icmp.ParseMessage(1, buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		echo, ok := m.Body.(*icmp.Echo)
		if !ok || echo.ID != p.id {
			continue
		}
		p.mu.Lock()
		if echo.Seq < len(p.res.Reply) && p.res.Reply[echo.Seq] == 0 {
			p.res.Reply[echo.Seq] = now
		}
		p.mu.Unlock()
	}
}

// pingPeek returns what came so far.
func (h *host) pingPeek(id int) (*pingResult, error) {
	h.pmu.Lock()
	p := h.pings[id]
	h.pmu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("no ping %d", id)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &pingResult{Sent: slices.Clone(p.res.Sent), Reply: slices.Clone(p.res.Reply)}, nil
}

// pingStop ends the requests and waits at most wait for missing replies.
func (h *host) pingStop(id int, wait time.Duration) (*pingResult, error) {
	h.pmu.Lock()
	p := h.pings[id]
	delete(h.pings, id)
	h.pmu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("no ping %d", id)
	}
	close(p.stop)
	<-p.done
	for end := time.Now().Add(wait); time.Now().Before(end) && p.missing() > 0; {
		time.Sleep(10 * time.Millisecond)
	}
	p.conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	return &p.res, nil
}

func (p *pinger) missing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.res.missing()
}

func (r *pingResult) replies() int { return len(r.Reply) - r.missing() }

func (r *pingResult) missing() int {
	return countZero(r.Reply)
}
