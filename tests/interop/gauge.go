package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// A gauge is a TCP connection on which bytes come at a steady pace, and
// what came late.

const (
	gaugePace = 10 * time.Millisecond
	gaugeLate = 60 * time.Millisecond // a shorter silence is not noted
)

// gaugeResult is what came so far; times are nanoseconds since 1970.
type gaugeResult struct {
	Bytes    int64
	Last     int64      // when something came last
	Silences [][2]int64 // from one arrival to the next
	Error    string     // of the connection, or in the bytes
}

type gauge struct {
	mu  sync.Mutex
	res gaugeResult
}

// writePaced writes until the connection fails.
func writePaced(c net.Conn, size int64, seed uint64) {
	src, buf := patternOf(seed), make([]byte, size)
	for next := time.Now(); ; next = next.Add(gaugePace) {
		src.Read(buf)
		if _, err := c.Write(buf); err != nil {
			return
		}
		time.Sleep(time.Until(next))
	}
}

// gaugeStart fetches a.Size bytes each gaugePace from the other end.
func (e *end) gaugeStart(a endArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), a.Timeout)
	defer cancel()
	c, err := e.connect(ctx, a, 'g', a.Size, a.Seed)
	if err != nil {
		return err
	}
	g := &gauge{}
	e.mu.Lock()
	if e.gauges == nil {
		e.gauges = map[int]*gauge{}
	}
	e.gauges[a.ID] = g
	e.mu.Unlock()
	go g.read(c, a.Seed)
	return nil
}

func (g *gauge) read(c net.Conn, seed uint64) {
	defer c.Close()
	src, buf, want := patternOf(seed), make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		now := time.Now().UnixNano()
		src.Read(want[:n])
		g.mu.Lock()
		if n > 0 {
			if g.res.Last != 0 && now-g.res.Last > int64(gaugeLate) {
				g.res.Silences = append(g.res.Silences, [2]int64{g.res.Last, now})
			}
			g.res.Last = now
			g.res.Bytes += int64(n)
		}
		if err == nil && !bytes.Equal(buf[:n], want[:n]) {
			err = fmt.Errorf("other bytes than were sent, after %d", g.res.Bytes-int64(n))
		}
		if err != nil {
			g.res.Error = err.Error()
		}
		g.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (e *end) gaugeRead(id int) (*gaugeResult, error) {
	e.mu.Lock()
	g := e.gauges[id]
	e.mu.Unlock()
	if g == nil {
		return nil, fmt.Errorf("no gauge %d", id)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	res := g.res
	return &res, nil
}

// longest returns the longest silence that ended after since, also one that
// still lasts at until.
func (r *gaugeResult) longest(since, until int64) time.Duration {
	longest := until - max(r.Last, since)
	for _, s := range r.Silences {
		if s[1] > since {
			longest = max(longest, s[1]-s[0])
		}
	}
	return time.Duration(longest)
}
