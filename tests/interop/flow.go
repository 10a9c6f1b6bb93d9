package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
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

// flowResult is what the sender saw; times are nanoseconds since 1970.
type flowResult struct {
	Sent  []int64
	Reply []int64 // 0: none came
	Twice int     // replies that came more than once
}

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

	mu  sync.Mutex
	res flowResult
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

// flowStart begins at once and returns the moment.
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
	go f.send(uint64(a.ID), start, a.Interval)
	return start.UnixNano(), nil
}

func (f *flow) send(id uint64, start time.Time, interval time.Duration) {
	defer close(f.done)
	b := make([]byte, flowSize)
	binary.BigEndian.PutUint64(b, id)
	for i := 0; ; i++ {
		binary.BigEndian.PutUint64(b[8:], uint64(i))
		f.mu.Lock()
		f.res.Sent = append(f.res.Sent, time.Now().UnixNano())
		f.res.Reply = append(f.res.Reply, 0)
		f.mu.Unlock()
		f.conn.Write(b)
		select {
		case <-f.stop:
			return
		case <-time.After(time.Until(start.Add(time.Duration(i+1) * interval))):
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
		case number >= uint64(len(f.res.Reply)):
		case f.res.Reply[number] != 0:
			f.res.Twice++
		default:
			f.res.Reply[number] = now
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
	f.mu.Lock()
	defer f.mu.Unlock()
	return &f.res, nil
}

func (f *flow) missing() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.res.missing()
}

func (r *flowResult) missing() int { return countZero(r.Reply) }

// first returns the time to the first reply, in seconds; ok is false if
// none came.
func (r *flowResult) first() (seconds float64, ok bool) {
	var at int64
	for _, t := range r.Reply {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	if at == 0 {
		return 0, false
	}
	return float64(at-r.Sent[0]) / 1e9, true
}

// trip returns the median round trip in seconds, 0 if nothing came.
func (r *flowResult) trip() float64 {
	var v []int64
	for i, at := range r.Reply {
		if at != 0 {
			v = append(v, at-r.Sent[i])
		}
	}
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return float64(v[len(v)/2]) / 1e9
}

// lostAt lists when the lost ones were sent, in seconds from the start.
func (r *flowResult) lostAt() (at []float64) {
	for i, t := range r.Reply {
		if t == 0 {
			at = append(at, float64(r.Sent[i]-r.Sent[0])/1e9)
		}
	}
	return at
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
