package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tailscale.com/ipn/ipnstate"
)

const pollStep = 10 * time.Millisecond

// node is a daemon under test with its CLI, in a site's namespace.
type node struct {
	*site
	dir    string
	sock   string
	ip     string // own IPv4 address in the mesh once up
	cmd    *exec.Cmd
	exited chan struct{}
	killed bool // by the test
	bare   bool // without TUN and without root
	http   *http.Client
}

// cliResult is what one run of the CLI gave.
type cliResult struct {
	args   []string
	out    string // stdout
	err    string // stderr
	code   int
	killed bool // did not end by itself
	took   time.Duration
}

func (r cliResult) String() string {
	return fmt.Sprintf("tailscale %s: exit %d after %v\nstdout: %s\nstderr: %s", strings.Join(r.args, " "), r.code,
		r.took.Round(time.Millisecond), strings.TrimSpace(r.out), strings.TrimSpace(r.err))
}

// addNode makes a site and starts a daemon there.
func (l *lab) addNode(name string, kind siteKind) *node { return l.addNodeAs(name, kind, false) }

// addBareNode starts one with userspace networking, as another user and
// without any capability; its SOCKS5 server is at bareSOCKS.
func (l *lab) addBareNode(name string, kind siteKind) *node { return l.addNodeAs(name, kind, true) }

const (
	bareUser  = 65534
	bareSOCKS = "127.0.0.1:1055"
)

func (l *lab) addNodeAs(name string, kind siteKind, bare bool) *node {
	return l.addNodeOn(l.addSite(name, kind), bare)
}

// addNodeOn starts a daemon on a site.
func (l *lab) addNodeOn(s *site, bare bool) *node {
	n := &node{site: s, dir: filepath.Join(l.dir, s.name), bare: bare}
	n.sock = filepath.Join(n.dir, "sock")
	n.http = &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", n.sock)
			},
		},
	}
	l.must(os.MkdirAll(n.dir, 0o755))
	if bare {
		for _, dir := range []string{l.t.runner.dir, l.dir} { // on the way to that user's own folder
			l.must(os.Chmod(dir, 0o711))
		}
		l.must(os.Chown(n.dir, bareUser, bareUser))
		program, err := os.ReadFile(l.t.runner.daemon)
		l.must(err)
		l.must(os.WriteFile(filepath.Join(n.dir, "tailscaled"), program, 0o755))
	}
	n.start()
	l.stops = append(l.stops, n.stop)
	l.daemons = append(l.daemons, n)
	return n
}

// start runs the daemon and waits until its socket answers.
func (n *node) start() {
	t := n.lab.t
	log, err := os.OpenFile(filepath.Join(n.lab.dir, n.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	n.lab.must(err)
	defer log.Close()
	program := []string{t.runner.daemon, "--tun=tailscale0"}
	if n.bare {
		id := strconv.Itoa(bareUser)
		program = []string{"setpriv", "--reuid=" + id, "--regid=" + id, "--clear-groups", "--no-new-privs",
			"--bounding-set=-all", "--inh-caps=-all", filepath.Join(n.dir, "tailscaled"),
			"--tun=userspace-networking", "--socks5-server=" + bareSOCKS}
	}
	argv := inNS(n.ns, append(append([]string{t.runner.self, "enter", n.dir}, program...),
		"--state="+filepath.Join(n.dir, "tailscaled.state"), "--statedir="+n.dir, "--socket="+n.sock,
		"--port="+strconv.Itoa(n.port), "--verbose=1")...)
	n.cmd = exec.Command(argv[0], argv[1:]...)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	n.lab.must(n.cmd.Start())
	n.killed = false
	n.exited = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		cmd.Wait()
		close(done)
	}(n.cmd, n.exited)
	t.await(10*time.Second, n.name+": daemon answers on its socket", func() bool {
		select {
		case <-n.exited:
			t.fatalf("%s: daemon ended: %v", n.name, n.cmd.ProcessState)
		default:
		}
		_, err := n.tryStatus()
		return err == nil
	})
}

// stop asks the daemon to leave, and makes it after ten seconds: a leak check
// at its end takes a while.
func (n *node) stop() {
	if n.killed {
		return
	}
	n.noteState()
	n.http.CloseIdleConnections()
	n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.exited:
		if !n.cmd.ProcessState.Success() {
			n.lab.t.fault("%s: daemon ended with %v", n.name, n.cmd.ProcessState)
		}
	case <-time.After(10 * time.Second):
		n.lab.t.fault("%s: daemon did not leave within 10 s of SIGTERM", n.name)
		n.cmd.Process.Kill()
		<-n.exited
	}
}

// kill ends the daemon without a warning.
func (n *node) kill() {
	n.http.CloseIdleConnections()
	n.killed = true
	n.cmd.Process.Kill()
	<-n.exited
}

func (n *node) tryStatus() (*ipnstate.Status, error) {
	resp, err := n.http.Get("http://local-tailscaled.sock/localapi/v0/status")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	st := new(ipnstate.Status)
	return st, json.NewDecoder(resp.Body).Decode(st)
}

func (n *node) status() *ipnstate.Status {
	st, err := n.tryStatus()
	if err != nil {
		n.lab.t.fatalf("%s: status: %v", n.name, err)
	}
	return st
}

// peer returns the peer with address ip, or nil.
func (n *node) peer(ip string) *ipnstate.PeerStatus {
	return findPeer(n.status(), netip.MustParseAddr(ip))
}

// startCLI starts the CLI; the returned function waits for its end, at most
// limit, and says what it did.
func (n *node) startCLI(limit time.Duration, stdout, stderr *lockedBuffer, args ...string) func() cliResult {
	t := n.lab.t
	argv := inNS(n.ns, append([]string{t.runner.cli, "--socket=" + n.sock}, args...)...)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	start := time.Now()
	n.lab.must(cmd.Start())
	return func() cliResult {
		defer cancel()
		cmd.Wait()
		r := cliResult{
			args:   args,
			out:    stdout.String(),
			err:    stderr.String(),
			code:   cmd.ProcessState.ExitCode(),
			killed: ctx.Err() != nil,
			took:   time.Since(start),
		}
		n.noteState()
		n.noteOutput(r)
		return r
	}
}

func (n *node) cli(args ...string) cliResult {
	return n.startCLI(30*time.Second, new(lockedBuffer), new(lockedBuffer), args...)()
}

// cliOK runs the CLI and fails the test unless it exits 0.
func (n *node) cliOK(args ...string) cliResult {
	r := n.cli(args...)
	if r.code != 0 {
		n.lab.t.fatalf("%s: %v", n.name, r)
	}
	return r
}

// up logs in with an auth key and notes the node's own address.
func (n *node) up(more ...string) {
	args := append([]string{"up", "--login-server=" + n.control(), "--auth-key=" + authKey, "--hostname=" + n.name,
		"--timeout=20s"}, more...)
	n.cliOK(args...)
	n.learnIP()
}

func (n *node) learnIP() {
	st := n.status()
	if st.BackendState != "Running" || len(st.TailscaleIPs) == 0 {
		n.lab.t.fatalf("%s: state %q with addresses %v after up", n.name, st.BackendState, st.TailscaleIPs)
	}
	n.ip = st.TailscaleIPs[0].String()
}

func (n *node) awaitState(state string, limit time.Duration) {
	n.lab.t.await(limit, n.name+": state "+state, func() bool { return n.status().BackendState == state })
}

// awaitPeer waits until the peer with address ip fits.
func (n *node) awaitPeer(ip, what string, limit time.Duration, fits func(*ipnstate.PeerStatus) bool) {
	n.lab.t.await(limit, fmt.Sprintf("%s: peer %s %s", n.name, ip, what), func() bool {
		p := n.peer(ip)
		return p != nil && fits(p)
	})
}

// awaitDirect returns the moment at which the path to ip was seen direct.
func (n *node) awaitDirect(ip string, limit time.Duration) (int64, error) {
	addr := netip.MustParseAddr(ip)
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(pollStep) {
		st, err := n.tryStatus()
		if err != nil {
			return 0, err
		}
		if p := findPeer(st, addr); p != nil && p.CurAddr != "" {
			return time.Now().UnixNano(), nil
		}
	}
	return 0, fmt.Errorf("%s: path to %s is not direct after %v", n.name, ip, limit)
}

// statusLine returns the row of peer ip in the CLI's status table.
func (n *node) statusLine(ip string) string {
	for _, line := range strings.Split(n.cliOK("status").out, "\n") {
		if f := strings.Fields(line); len(f) > 0 && f[0] == ip {
			return line
		}
	}
	return ""
}

// drops lists the daemon's counters of what it dropped, those that are not 0.
func (n *node) drops() string {
	var out []string
	for _, line := range strings.Split(n.cliOK("debug", "metrics").out, "\n") {
		if strings.Contains(line, "drop") && !strings.HasPrefix(line, "#") && !strings.HasSuffix(line, " 0") {
			out = append(out, line)
		}
	}
	return strings.Join(out, ", ")
}

// lockedBuffer can be read while a process still writes to it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
