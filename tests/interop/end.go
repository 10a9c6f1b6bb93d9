package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/proxy"
)

// An end speaks TCP from one host of the mesh: from a host helper through
// the kernel and our daemon, from a tsnet node through its own stack.
//
// The service every end offers starts with a 17-byte header: a letter, a
// size and a seed, big endian.  'e' echoes; 'u' reads size bytes and answers
// with their SHA-256; 'd' writes size bytes made from seed and then their
// SHA-256; 's' reads to the end and answers with the number of bytes; 'g'
// writes size bytes made from seed each hundredth of a second.
type end struct {
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	listen func(network, addr string) (net.Listener, error)
	// listenPacket is listen for datagrams, for which ip must be named.
	listenPacket func(network, addr string) (net.PacketConn, error)

	mu      sync.Mutex
	chats   map[int]*chat
	flows   map[int]*flow     // that it sends
	tallies map[uint64]*tally // of those that it echoes
	gauges  map[int]*gauge
	relay   *relayClient
}

const endPort = 7000

// endArgs are the arguments of all operations of an end.
type endArgs struct {
	Addr     string // IP of the other end; of the own one to listen
	Text     string // for the engine
	Via      string // SOCKS5 server through which it is dialled; "": none
	Size     int64
	Seed     uint64
	Download bool
	ID       int
	Interval time.Duration
	Burst    int // datagrams that leave at once, at the beginning
	Timeout  time.Duration
}

// chatResult tells how a chat went; times are nanoseconds since 1970.
type chatResult struct {
	Start   int64   // first packet handed to the stack
	Replies []int64 // when each answer came; the first is the connection itself
	Error   string  `json:",omitempty"`
}

// chat is a connection that sends a byte, awaits it back, and pauses.
type chat struct {
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	res    chatResult
}

type transferResult struct {
	Sent, Received string // SHA-256 of what was sent and of what arrived
	Seconds        float64
}

type streamResult struct {
	Bytes   int64 // that arrived
	Seconds float64
}

func (e *end) do(op string, a endArgs) (any, error) {
	switch op {
	case "listen":
		return nil, e.serve(a)
	case "chat-start":
		return e.chatStart(a), nil
	case "chat-stop":
		return e.chatStop(a.ID, a.Timeout)
	case "transfer":
		return e.transfer(a)
	case "flow-start":
		return e.flowStart(a)
	case "flow-stop":
		return e.flowStop(a.ID, a.Timeout)
	case "flow-tally":
		return e.flowTally(uint64(a.ID)), nil
	case "stream":
		return e.stream(a)
	case "relay-join":
		return e.relayJoin(a)
	case "relay-trip":
		return e.relayTrip(a)
	case "relay-leave":
		e.relayLeave()
		return nil, nil
	case "gauge-start":
		return nil, e.gaugeStart(a)
	case "gauge":
		return e.gaugeRead(a.ID)
	}
	return nil, fmt.Errorf("unknown operation %q", op)
}

// serve offers the services: of TCP on all addresses, of datagrams on a.Addr.
func (e *end) serve(a endArgs) error {
	ln, err := e.listen("tcp", ":"+strconv.Itoa(endPort))
	if err != nil {
		return err
	}
	pc, err := e.listenPacket("udp", net.JoinHostPort(a.Addr, strconv.Itoa(flowPort)))
	if err != nil {
		return err
	}
	go e.flowServe(pc)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serveEnd(c)
		}
	}()
	return nil
}

func serveEnd(c net.Conn) {
	defer c.Close()
	var head [17]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	size := int64(binary.BigEndian.Uint64(head[1:9]))
	seed := binary.BigEndian.Uint64(head[9:17])
	switch head[0] {
	case 'e':
		io.Copy(c, c)
		reset(c)
	case 's':
		n, _ := io.CopyBuffer(onlyWriter{io.Discard}, c, make([]byte, 256<<10))
		c.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	case 'u':
		sum := sha256.New()
		if _, err := io.CopyN(sum, c, size); err == nil {
			c.Write(sum.Sum(nil))
		}
	case 'g':
		writePaced(c, size, seed)
	case 'd':
		sum := sha256.New()
		if err := writePattern(c, sum, size, seed); err == nil {
			c.Write(sum.Sum(nil))
		}
	}
}

func patternOf(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	binary.BigEndian.PutUint64(s[:], seed)
	return rand.NewChaCha8(s)
}

// writePattern writes size bytes that follow from seed to w and to sum.
func writePattern(w io.Writer, sum hash.Hash, size int64, seed uint64) error {
	src := patternOf(seed)
	buf := make([]byte, 64<<10)
	for size > 0 {
		part := buf[:min(size, int64(len(buf)))]
		src.Read(part)
		sum.Write(part)
		if _, err := w.Write(part); err != nil {
			return err
		}
		size -= int64(len(part))
	}
	return nil
}

// reset closes c so that the kernel has nothing left to repeat, which would
// be an uncalled-for first packet once the daemons have been restarted.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

func (e *end) connect(ctx context.Context, a endArgs, op byte, size int64, seed uint64) (net.Conn, error) {
	dial := e.dial
	if a.Via != "" {
		d, err := proxy.SOCKS5("tcp", a.Via, nil, proxy.Direct)
		if err != nil {
			return nil, err
		}
		dial = d.(proxy.ContextDialer).DialContext
	}
	c, err := dial(ctx, "tcp", net.JoinHostPort(a.Addr, strconv.Itoa(endPort)))
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint64([]byte{op}, uint64(size))
	head = binary.BigEndian.AppendUint64(head, seed)
	if _, err := c.Write(head); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// connectFor is connect for one exchange, all of which takes a.Timeout at most.
func (e *end) connectFor(a endArgs, op byte, size int64, seed uint64) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), a.Timeout)
	defer cancel()
	c, err := e.connect(ctx, a, op, size, seed)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	return c, nil
}

// transfer moves a.Size bytes to (or with Download from) the other end.
func (e *end) transfer(a endArgs) (*transferResult, error) {
	op := byte('u')
	if a.Download {
		op = 'd'
	}
	c, err := e.connectFor(a, op, a.Size, a.Seed)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	start := time.Now()
	mine := sha256.New()
	if a.Download {
		_, err = io.CopyN(mine, c, a.Size)
	} else {
		err = writePattern(c, mine, a.Size, a.Seed)
	}
	if err != nil {
		return nil, err
	}
	var theirs [sha256.Size]byte
	if _, err := io.ReadFull(c, theirs[:]); err != nil {
		return nil, err
	}
	res := &transferResult{
		Sent:     hex.EncodeToString(mine.Sum(nil)),
		Received: hex.EncodeToString(theirs[:]),
		Seconds:  time.Since(start).Seconds(),
	}
	if a.Download {
		res.Sent, res.Received = res.Received, res.Sent
	}
	return res, nil
}

// onlyWriter hides the ReadFrom of what it holds, which has buffers of its own.
type onlyWriter struct{ io.Writer }

// stream sends for a.Interval and tells what the other end got of it.
func (e *end) stream(a endArgs) (*streamResult, error) {
	c, err := e.connectFor(a, 's', 0, 0)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	start := time.Now()
	for buf := make([]byte, 256<<10); time.Since(start) < a.Interval; {
		if _, err := c.Write(buf); err != nil {
			return nil, err
		}
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return nil, err
	}
	var n [8]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return nil, err
	}
	return &streamResult{Bytes: int64(binary.BigEndian.Uint64(n[:])), Seconds: time.Since(start).Seconds()}, nil
}

// chatStart returns the chat's start at once and leaves it running.
func (e *end) chatStart(a endArgs) int64 {
	ctx, cancel := context.WithCancel(context.Background())
	ch := &chat{cancel: cancel, done: make(chan struct{})}
	ch.res.Start = time.Now().UnixNano()
	e.mu.Lock()
	if e.chats == nil {
		e.chats = map[int]*chat{}
	}
	e.chats[a.ID] = ch
	e.mu.Unlock()
	go func() {
		defer close(ch.done)
		if err := e.talk(ctx, ch, a); err != nil && ctx.Err() == nil {
			ch.mu.Lock()
			ch.res.Error = err.Error()
			ch.mu.Unlock()
		}
	}()
	return ch.res.Start
}

// settled reports whether the chat has its connection or has failed.
func (ch *chat) settled() bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return len(ch.res.Replies) > 0 || ch.res.Error != ""
}

func (ch *chat) reply() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.res.Replies = append(ch.res.Replies, time.Now().UnixNano())
}

func (e *end) talk(ctx context.Context, ch *chat, a endArgs) error {
	c, err := e.connect(ctx, a, 'e', 0, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { reset(c) })
	defer stop()
	ch.reply()
	for {
		var b [1]byte
		if _, err := c.Write(b[:]); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return err
		}
		ch.reply()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(a.Interval):
		}
	}
}

// chatStop ends a chat, but gives it until wait to get its connection.
func (e *end) chatStop(id int, wait time.Duration) (*chatResult, error) {
	e.mu.Lock()
	ch := e.chats[id]
	delete(e.chats, id)
	e.mu.Unlock()
	if ch == nil {
		return nil, fmt.Errorf("no chat %d", id)
	}
	for end := time.Now().Add(wait); time.Now().Before(end) && !ch.settled(); {
		time.Sleep(10 * time.Millisecond)
	}
	ch.cancel()
	<-ch.done
	return &ch.res, nil
}

func decodeArgs(raw json.RawMessage) (endArgs, error) {
	var a endArgs
	if len(raw) == 0 {
		return a, nil
	}
	err := json.Unmarshal(raw, &a)
	return a, err
}
