package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A flow is a numbered stream of datagrams.  The other end counts each and
// sends it back.  A datagram is the flow's id and its own number, 64 bits
// each, and filling.

const (
	flowPort = 7001
	flowSize = 200
)

// flowResult is what the sender saw; times are seconds.
type flowResult struct {
	Sent, Lost int
	Twice      int       // replies that came more than once
	First      float64   // from the first packet to the first reply; 0: none came
	Trip       float64   // median round trip
	Gaps       []flowGap // of replies, in order; at most gapsShown
}

// flowGap is a row of packets none of which was answered.
type flowGap struct {
	At    float64 // when the first of them left, from the first of all on
	Count int
}

const gapsShown = 1000

// flowTally is what the other end saw.
type flowTally struct {
	Got   int // different ones
	Twice int
}

type flow struct {
	conn   net.Conn
	stop   chan struct{}
	done   chan struct{} // the last one is sent
	closed chan struct{}

	mu          sync.Mutex
	sent, reply []int64 // nanoseconds since 1970; reply 0: none came
	twice       int
}

// tally counts the datagrams of one flow.
type tally struct {
	flowTally
	seen map[uint64]bool
}

// flowServe counts and echoes whatever comes to pc.
func (e *end) flowServe(pc net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			if n, ok := err.(net.Error); ok && n.Timeout() {
				continue
			}
			return
		}
		if n < 16 {
			continue
		}
		e.count(binary.BigEndian.Uint64(buf), binary.BigEndian.Uint64(buf[8:]))
		pc.WriteTo(buf[:n], from)
	}
}

func (e *end) count(id, number uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tallies == nil {
		e.tallies = map[uint64]*tally{}
	}
	t := e.tallies[id]
	if t == nil {
		t = &tally{seen: map[uint64]bool{}}
		e.tallies[id] = t
	}
	if t.seen[number] {
		t.Twice++
		return
	}
	t.seen[number] = true
	t.Got++
}

func (e *end) flowTally(id uint64) flowTally {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tallies[id]; t != nil {
		return t.flowTally
	}
	return flowTally{}
}

// flowStart begins at once and returns the moment.  A sender that was late
// does not make up for it: a heap of packets at once is no steady stream.
func (e *end) flowStart(a endArgs) (int64, error) {
	conn, err := e.dial(context.Background(), "udp", net.JoinHostPort(a.Addr, strconv.Itoa(flowPort)))
	if err != nil {
		return 0, err
	}
	f := &flow{conn: conn, stop: make(chan struct{}), done: make(chan struct{}), closed: make(chan struct{})}
	e.mu.Lock()
	if e.flows == nil {
		e.flows = map[int]*flow{}
	}
	e.flows[a.ID] = f
	e.mu.Unlock()
	start := time.Now()
	go f.receive()
	go f.send(uint64(a.ID), a.Interval, a.Burst)
	return start.UnixNano(), nil
}

func (f *flow) send(id uint64, interval time.Duration, burst int) {
	defer close(f.done)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	b := make([]byte, flowSize)
	binary.BigEndian.PutUint64(b, id)
	for i := 0; ; i++ {
		binary.BigEndian.PutUint64(b[8:], uint64(i))
		f.mu.Lock()
		f.sent = append(f.sent, time.Now().UnixNano())
		f.reply = append(f.reply, 0)
		f.mu.Unlock()
		f.conn.Write(b)
		if i < burst {
			continue
		}
		select {
		case <-f.stop:
			return
		case <-tick.C:
		}
	}
}

func (f *flow) receive() {
	buf := make([]byte, 2048)
	for {
		n, err := f.conn.Read(buf)
		if err != nil {
			select {
			case <-f.closed:
				return
			case <-time.After(time.Millisecond): // an ICMP error of a moment ago
				continue
			}
		}
		if n < 16 {
			continue
		}
		now, number := time.Now().UnixNano(), binary.BigEndian.Uint64(buf[8:])
		f.mu.Lock()
		switch {
		case number >= uint64(len(f.reply)):
		case f.reply[number] != 0:
			f.twice++
		default:
			f.reply[number] = now
		}
		f.mu.Unlock()
	}
}

// flowStop ends the flow and waits at most wait for missing replies.
func (e *end) flowStop(id int, wait time.Duration) (*flowResult, error) {
	e.mu.Lock()
	f := e.flows[id]
	delete(e.flows, id)
	e.mu.Unlock()
	if f == nil {
		return nil, fmt.Errorf("no flow %d", id)
	}
	close(f.stop)
	<-f.done
	for end := time.Now().Add(wait); time.Now().Before(end) && f.missing() > 0; {
		time.Sleep(10 * time.Millisecond)
	}
	close(f.closed)
	f.conn.Close()
	return f.result(), nil
}

func (f *flow) missing() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return countZero(f.reply)
}

func (f *flow) result() *flowResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &flowResult{Sent: len(f.sent), Lost: countZero(f.reply), Twice: f.twice}
	var trips, came []int64
	for i, at := range f.reply {
		switch {
		case at != 0:
			trips, came = append(trips, at-f.sent[i]), append(came, at)
		case i > 0 && f.reply[i-1] == 0 && len(r.Gaps) > 0:
			r.Gaps[len(r.Gaps)-1].Count++
		case len(r.Gaps) < gapsShown:
			r.Gaps = append(r.Gaps, flowGap{At: float64(f.sent[i]-f.sent[0]) / 1e9, Count: 1})
		}
	}
	if len(came) > 0 {
		slices.Sort(trips)
		r.First = float64(slices.Min(came)-f.sent[0]) / 1e9
		r.Trip = float64(trips[len(trips)/2]) / 1e9
	}
	return r
}

// gaps says when how many were lost, first ones first.
func (r *flowResult) gaps() string {
	var b strings.Builder
	for i, g := range r.Gaps {
		if i == 20 {
			b.WriteString(" ...")
			break
		}
		fmt.Fprintf(&b, " %d at %.2f s", g.Count, g.At)
	}
	return b.String()
}

func countZero(times []int64) int {
	n := 0
	for _, at := range times {
		if at == 0 {
			n++
		}
	}
	return n
}
