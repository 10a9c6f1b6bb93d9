package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"expvar"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stun/stuntest"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

// stoppable is a TCP service that can be taken away and brought back on its
// port: stop closes the listener and every connection, also hijacked ones.
type stoppable struct {
	addr    string
	handler http.Handler
	tls     *tls.Config // nil: plain

	mu    sync.Mutex
	ln    net.Listener
	conns map[net.Conn]bool
}

type trackedListener struct {
	net.Listener
	owner *stoppable
}

type trackedConn struct {
	net.Conn
	owner *stoppable
}

func (l trackedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.owner.mu.Lock()
	defer l.owner.mu.Unlock()
	l.owner.conns[c] = true
	return trackedConn{c, l.owner}, nil
}

func (c trackedConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.conns, c.Conn)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

// start listens; an addr with port 0 is replaced by the port it got.
func (s *stoppable) start() error {
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.ln, s.conns = ln, map[net.Conn]bool{}
	s.addr = ln.Addr().String()
	s.mu.Unlock()
	ln = trackedListener{ln, s}
	if s.tls != nil {
		ln = tls.NewListener(ln, s.tls)
	}
	srv := &http.Server{
		Handler:      s.handler,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	go srv.Serve(ln)
	return nil
}

func (s *stoppable) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil {
		return
	}
	s.ln.Close()
	for c := range s.conns {
		c.Close()
	}
	s.ln, s.conns = nil, nil
}

// serverOptions says what one set of servers looks like.
type serverOptions struct {
	IP          string // address to listen on
	ControlPort int    // plain HTTP; 0: any
	TLSPort     int    // control server over TLS as well, self-signed; 0: not
	DERPPort    int    // of region 1, further regions take the next ports; 0: any
	STUNPort    int    // 0: any
	IPv6        string // of the relays; not empty: all listen on every address
	STUN2       string // address and port of another STUN server, in a region without a relay
	Regions     int
	AuthKey     string // required from every node if not empty
	Interactive bool   // every login needs a visit of its URL
	Pin         bool   // relay certificates by CertName pin instead of InsecureForTests
	FakeNodes   int    // nodes that only the map knows
}

// servers are a control server, a relay and a STUN server per region.
type servers struct {
	control *testcontrol.Server
	http    []*stoppable // the control server's listeners
	relays  map[int]*relay

	mu        sync.Mutex
	registers []registerSeen
	polls     map[key.NodePublic]int // streaming map requests so far
	held      chan struct{}          // see hold; nil: nothing is held
	fakes     int                    // still to be added
}

type relay struct {
	key  key.NodePrivate
	cert tls.Certificate
	srv  *derpserver.Server
	http *stoppable
}

// registerSeen is what the test may ask about one register request.
type registerSeen struct {
	NodeKey    string
	OldNodeKey string
	Hostname   string
	Expiry     time.Time
	HasAuthKey bool
	Followup   bool
}

// start runs a fresh relay process on the relay's own key and port.
func (r *relay) start() error {
	r.srv = derpserver.New(r.key, logger.Discard)
	mux := http.NewServeMux()
	mux.Handle("/derp", derpserver.Handler(r.srv))
	mux.HandleFunc("/derp/probe", derpserver.ProbeHandler)
	mux.HandleFunc("/derp/latency-check", derpserver.ProbeHandler)
	mux.HandleFunc("/generate_204", derpserver.ServeNoContent)
	cfg := &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &r.cert, nil },
	}
	r.srv.ModifyTLSConfigToAddMetaCert(cfg)
	r.http.handler, r.http.tls = mux, cfg
	return r.http.start()
}

func (r *relay) stop() {
	r.http.stop()
	r.srv.Close()
}

func selfSigned(ip string) (tls.Certificate, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: ip},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.ParseIP(ip)},
		DNSNames:     []string{ip},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, nil
}

// stunTB is the little of testing.TB that the STUN server asks for.
type stunTB struct{ testing.TB }

func (stunTB) Helper()             {}
func (stunTB) Logf(string, ...any) {}
func (stunTB) Fatalf(format string, args ...any) {
	log.Fatalf(format, args...)
}

// stunAt makes the STUN server listen on addr instead of on any port.
type stunAt struct{ addr string }

func (a stunAt) ListenPacket(ctx context.Context, _, _ string) (net.PacketConn, error) {
	var lc net.ListenConfig
	return lc.ListenPacket(ctx, "udp", a.addr)
}

func hostPort(ip string, port int) string {
	return net.JoinHostPort(ip, strconv.Itoa(port))
}

// at returns the address to listen on.
func (o serverOptions) at(port int) string {
	if o.IPv6 != "" {
		return hostPort("::", port)
	}
	return hostPort(o.IP, port)
}

// addRegion starts region id and returns its map entry.
func (s *servers) addRegion(o serverOptions, id int) (*tailcfg.DERPRegion, error) {
	cert, err := selfSigned(o.IP)
	if err != nil {
		return nil, err
	}
	port := func(base int) int {
		if base == 0 {
			return 0
		}
		return base + id - 1
	}
	r := &relay{key: key.NewNode(), cert: cert, http: &stoppable{addr: o.at(port(o.DERPPort))}}
	if err := r.start(); err != nil {
		return nil, err
	}
	s.relays[id] = r
	stunAddr, _ := stuntest.ServeWithPacketListener(stunTB{}, stunAt{o.at(port(o.STUNPort))})
	node := &tailcfg.DERPNode{
		Name:     fmt.Sprintf("%da", id),
		RegionID: id,
		HostName: o.IP,
		IPv4:     o.IP,
		IPv6:     cmp.Or(o.IPv6, "none"),
		STUNPort: stunAddr.Port,
		DERPPort: int(netip.MustParseAddrPort(r.http.addr).Port()),
	}
	if o.Pin {
		node.CertName = fmt.Sprintf("sha256-raw:%x", sha256.Sum256(cert.Certificate[0]))
	} else {
		node.InsecureForTests = true
	}
	return regionOf(id, node), nil
}

func regionOf(id int, node *tailcfg.DERPNode) *tailcfg.DERPRegion {
	return &tailcfg.DERPRegion{
		RegionID:   id,
		RegionCode: fmt.Sprintf("test%d", id),
		RegionName: fmt.Sprintf("Test %d", id),
		Nodes:      []*tailcfg.DERPNode{node},
	}
}

// slowSTUNDelay makes a region that has no relay nobody's home.
const slowSTUNDelay = 30 * time.Millisecond

// slowConn is a socket that sends late.
type slowConn struct{ *net.UDPConn }

func (c slowConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	late := slices.Clone(b)
	time.AfterFunc(slowSTUNDelay, func() { c.UDPConn.WriteToUDPAddrPort(late, to) })
	return len(b), nil
}

type slowSTUNAt struct{ stunAt }

func (a slowSTUNAt) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	pc, err := a.stunAt.ListenPacket(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return slowConn{pc.(*net.UDPConn)}, nil
}

// stunRegion starts a STUN server without a relay: with two servers, a NAT
// that maps by destination can be told from one that does not.
func stunRegion(id int, at string) *tailcfg.DERPRegion {
	stuntest.ServeWithPacketListener(stunTB{}, slowSTUNAt{stunAt{at}})
	addr := netip.MustParseAddrPort(at)
	return regionOf(id, &tailcfg.DERPNode{
		Name:     fmt.Sprintf("%da", id),
		RegionID: id,
		HostName: addr.Addr().String(),
		IPv4:     addr.Addr().String(),
		IPv6:     "none",
		STUNPort: int(addr.Port()),
		STUNOnly: true,
	})
}

func startServers(o serverOptions) (*servers, error) {
	s := &servers{relays: map[int]*relay{}, polls: map[key.NodePublic]int{}, fakes: o.FakeNodes}
	dm := &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{}}
	for id := 1; id <= max(o.Regions, 1); id++ {
		region, err := s.addRegion(o, id)
		if err != nil {
			return nil, err
		}
		dm.Regions[id] = region
	}
	if o.STUN2 != "" {
		id := max(o.Regions, 1) + 1
		dm.Regions[id] = stunRegion(id, o.STUN2)
	}
	s.control = &testcontrol.Server{
		Logf:           log.Printf,
		Verbose:        true,
		DERPMap:        dm,
		RequireAuth:    o.Interactive,
		RequireAuthKey: o.AuthKey,
		MagicDNSDomain: "interop.example",
		AllOnline:      true,
		HoldMapRequest: s.sawMapRequest,
	}
	log.SetOutput(&registerWatch{s: s, w: os.Stderr})
	handler := http.HandlerFunc(s.serveHTTP)
	s.http = append(s.http, &stoppable{addr: o.at(o.ControlPort), handler: handler})
	if o.TLSPort != 0 {
		cert, err := selfSigned(o.IP)
		if err != nil {
			return nil, err
		}
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
		s.http = append(s.http, &stoppable{addr: o.at(o.TLSPort), handler: handler, tls: cfg})
	}
	if err := s.switchControl(true); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.http[0].addr)
	if err != nil {
		return nil, err
	}
	s.control.ExplicitBaseURL = "http://" + net.JoinHostPort(o.IP, port)
	return s, nil
}

func (s *servers) switchControl(on bool) error {
	for _, h := range s.http {
		if !on {
			h.stop()
		} else if err := h.start(); err != nil {
			return err
		}
	}
	return nil
}

func (s *servers) sawMapRequest(req *tailcfg.MapRequest) func() {
	if req.Stream {
		s.addFakes()
		s.mu.Lock()
		s.polls[req.NodeKey]++
		held := s.held
		s.mu.Unlock()
		if held != nil {
			<-held
		}
	}
	return nil
}

// registerWatch reads the register requests out of the control server's
// verbose log, which is the only place where it shows them.
type registerWatch struct {
	s *servers
	w io.Writer
}

func (rw *registerWatch) Write(p []byte) (int, error) {
	if _, body, ok := strings.Cut(string(p), "Got tailcfg.RegisterRequest: "); ok {
		var req tailcfg.RegisterRequest
		if err := json.Unmarshal([]byte(body), &req); err == nil {
			seen := registerSeen{
				NodeKey:    req.NodeKey.String(),
				OldNodeKey: req.OldNodeKey.String(),
				Expiry:     req.Expiry,
				HasAuthKey: req.Auth != nil && req.Auth.AuthKey != "",
				Followup:   req.Followup != "",
			}
			if req.Hostinfo != nil {
				seen.Hostname = req.Hostinfo.Hostname
			}
			rw.s.mu.Lock()
			rw.s.registers = append(rw.s.registers, seen)
			rw.s.mu.Unlock()
		}
	}
	return rw.w.Write(p)
}

// serveHTTP keeps paths that the control server would end its process for
// away from it, and lets a visit of a login URL complete the login.
func (s *servers) serveHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/auth/"):
		if !s.control.CompleteAuth(r.URL.Path) {
			http.Error(w, "unknown login", http.StatusNotFound)
			return
		}
		fmt.Fprintln(w, "logged in")
	case r.URL.Path == "/key", r.URL.Path == "/ts2021", r.URL.Path == "/generate_204":
		s.control.ServeHTTP(w, r)
	default:
		log.Printf("unexpected request %s %s", r.Method, r.URL.Path)
		http.NotFound(w, r)
	}
}

// nodeSeen is one node as the control server knows it; fake ones are left
// out.
type nodeSeen struct {
	Key       string
	ID        int64
	Name      string
	IPv4      string
	HomeDERP  int
	Endpoints []string
	Polls     int  // streaming map requests so far
	Polling   bool // a streaming map request is open
	OnRelay   bool // connected to a relay
}

func (s *servers) nodes() []nodeSeen {
	var out []nodeSeen
	for _, n := range s.control.AllNodes() {
		if n.ID >= firstFakeID {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		polling := s.control.AwaitNodeInMapRequest(ctx, n.Key) == nil
		cancel()
		seen := nodeSeen{
			Key:      n.Key.String(),
			ID:       int64(n.ID),
			Name:     n.Name,
			IPv4:     n.Addresses[0].Addr().String(),
			HomeDERP: n.HomeDERP,
			Polling:  polling,
		}
		for _, r := range s.relays {
			seen.OnRelay = seen.OnRelay || r.srv.IsClientConnectedForTest(n.Key)
		}
		for _, ep := range n.Endpoints {
			seen.Endpoints = append(seen.Endpoints, ep.String())
		}
		s.mu.Lock()
		seen.Polls = s.polls[n.Key]
		s.mu.Unlock()
		out = append(out, seen)
	}
	return out
}

// serverArgs are the arguments of all operations of the servers.
type serverArgs struct {
	On       bool
	Region   int
	Number   int    // of a fake node
	Node     string // node key
	URL      string
	Response json.RawMessage // a map response
}

func (s *servers) do(op string, raw json.RawMessage) (any, error) {
	var a serverArgs
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, err
		}
	}
	switch op {
	case "derpmap":
		return s.control.DERPMap, nil
	case "nodes":
		return s.nodes(), nil
	case "registers":
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.registers, nil
	case "node":
		k, err := parseKey(a.Node)
		if err != nil {
			return nil, err
		}
		return s.control.Node(k), nil
	case "forget":
		return nil, s.forget(a.Node)
	case "hold":
		s.hold(a.On)
		return nil, nil
	case "fake":
		return fakeNode(a.Number), nil
	case "expire":
		s.control.SetExpireAllNodes(a.On)
		return nil, nil
	case "map":
		return nil, s.sendMap(a)
	case "complete-auth":
		if !s.control.CompleteAuth(a.URL) {
			return nil, fmt.Errorf("no login is waiting at %q", a.URL)
		}
		return nil, nil
	case "control":
		return nil, s.switchControl(a.On)
	case "relay":
		return nil, s.switchRelay(a)
	case "relay-dropped":
		return relayDropped()
	}
	return nil, fmt.Errorf("unknown operation %q", op)
}

// relayDropped counts the packets that the relays of this process dropped: one
// keeps 32 for each client, and a host without a free processor fills them.
func relayDropped() (int, error) {
	v, ok := expvar.Get("derp_packets_dropped").(interface {
		WritePrometheus(w io.Writer, name string)
	})
	if !ok {
		return 0, fmt.Errorf("the relay has no counter of what it drops")
	}
	var b strings.Builder
	v.WritePrometheus(&b, "dropped")
	total := 0
	for line := range strings.Lines(b.String()) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		n, err := strconv.Atoi(f[len(f)-1])
		if err != nil {
			return 0, fmt.Errorf("the relay's counter says %q", line)
		}
		total += n
	}
	return total, nil
}

func parseKey(text string) (k key.NodePublic, err error) {
	err = k.UnmarshalText([]byte(text))
	return k, err
}

// forget takes endpoints and home relay from what the control server tells of
// a node, until that node says them again.
func (s *servers) forget(node string) error {
	k, err := parseKey(node)
	if err != nil {
		return err
	}
	n := s.control.Node(k)
	if n == nil {
		return fmt.Errorf("no node %s", node)
	}
	n.Endpoints, n.HomeDERP, n.LegacyDERPString = nil, 0, ""
	s.control.UpdateNode(n)
	return nil
}

// sendMap hands a hand-made map response to a node; from then on the
// control server sends that node nothing of its own.
func (s *servers) sendMap(a serverArgs) error {
	k, err := parseKey(a.Node)
	if err != nil {
		return err
	}
	resp := new(tailcfg.MapResponse)
	if err := json.Unmarshal(a.Response, resp); err != nil {
		return err
	}
	if !s.control.AddRawMapResponse(k, resp) {
		return fmt.Errorf("node has no map request open")
	}
	return nil
}

func (s *servers) switchRelay(a serverArgs) error {
	r := s.relays[max(a.Region, 1)]
	if r == nil {
		return fmt.Errorf("no region %d", a.Region)
	}
	if a.On {
		return r.start()
	}
	r.stop()
	return nil
}
