package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A lab is one small internet in network namespaces: the namespace "inet"
// holds a bridge with the servers on it, each site is either a host on that
// bridge or a host behind a router on it.  All names carry the runner's
// process id; the janitor removes them whatever happens to the runner.
type lab struct {
	t       *test
	prefix  string
	dir     string
	servers *child
	inet    *segment
	routers int
	stops   []func()
	daemons []*node

	seenMu  sync.Mutex
	states  map[string]bool   // texts of state files
	outputs map[string]string // of the CLI
}

const (
	serverIP    = "203.0.113.1"
	secondIP    = "203.0.113.2" // of another STUN server
	serverIPv6  = "2001:db8::1"
	controlURL  = "http://203.0.113.1:8080"
	controlURL6 = "http://[2001:db8::1]:8080"
	controlPort = "8080"
	derpPort    = "8443"
	stunPort    = "3478"
	secondSTUN  = "3479"
)

// run executes argv and gives its output with the error.
func run(stdin string, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}

// inNS prefixes argv so that it runs in namespace ns.
func inNS(ns string, argv ...string) []string {
	return append([]string{"ip", "netns", "exec", ns}, argv...)
}

func (l *lab) must(err error) {
	if err != nil {
		l.t.fatalf("lab: %v", err)
	}
}

// addNS makes a namespace and runs an ip batch in it.
func (l *lab) addNS(name, batch string) string {
	ns := l.prefix + name
	l.must(run("", "ip", "netns", "add", ns))
	l.must(run("link set lo up\n"+batch, "ip", "-n", ns, "-batch", "-"))
	return ns
}

// newLab makes the internet and starts the servers with extra arguments.
func newLab(t *test, serverArgs ...string) *lab { return newLabOf(t, onlyV4, serverArgs...) }

// newLabOf makes one with the given versions of IP.
func newLabOf(t *test, fam families, serverArgs ...string) *lab {
	l := &lab{t: t, prefix: fmt.Sprintf("%s%d-", nsPrefix(), t.index), dir: filepath.Join(t.runner.dir, t.name)}
	l.must(os.MkdirAll(l.dir, 0o755))
	t.lab = l
	inet := l.addNS("inet", "link add br0 address 02:00:00:00:00:01 type bridge\nlink set br0 up\n"+
		"addr add "+serverIP+"/24 dev br0\naddr add "+secondIP+"/24 dev br0\n")
	l.inet = &segment{ns: inet, bridge: "br0", v4: "203.0.113.", used: 10}
	if fam&onlyV6 != 0 {
		l.inet.v6 = "2001:db8::"
		l.must(run("", "ip", "-n", inet, "addr", "add", serverIPv6+"/64", "dev", "br0", "nodad"))
		l.must(run("", inNS(inet, t.runner.self, "forward")...))
		serverArgs = append(serverArgs, "-ipv6", serverIPv6)
	}
	argv := append(inNS(inet, t.runner.self, "servers", "-listen", serverIP, "-control-port", controlPort,
		"-derp-port", derpPort, "-stun-port", stunPort), serverArgs...)
	if t.runner.reference {
		argv = append(argv, "-tls-port", "443")
	}
	c, err := startChild("servers", filepath.Join(l.dir, "servers.log"), argv)
	l.must(err)
	l.servers = c
	l.stops = append(l.stops, c.stop)
	l.must(c.call("nodes", nil, nil, 10*time.Second))
	return l
}

// stop ends every process of the lab and removes its namespaces.
func (l *lab) stop() {
	for i := len(l.stops) - 1; i >= 0; i-- {
		l.stops[i]()
	}
	l.audit()
	removeNS(l.prefix)
}

// server asks the servers; a failure fails the test.
func (l *lab) server(op string, args serverArgs, result any) {
	l.t.helperErr(l.servers.call(op, args, result, 10*time.Second))
}

// relayDropped is how many packets the relay dropped so far, since it was
// sent more than it keeps: of a lost packet it may be the cause.
func (l *lab) relayDropped() int {
	var n int
	l.server("relay-dropped", serverArgs{}, &n)
	return n
}

func (l *lab) nodes() []nodeSeen {
	var out []nodeSeen
	l.server("nodes", serverArgs{}, &out)
	return out
}

// node returns what the control server knows of the node with address ip.
func (l *lab) node(ip string) nodeSeen {
	for _, n := range l.nodes() {
		if n.IPv4 == ip {
			return n
		}
	}
	return nodeSeen{}
}

func nsPrefix() string {
	return fmt.Sprintf("ti%d-", os.Getpid())
}

// removeNS deletes the namespaces whose names begin with prefix.
func removeNS(prefix string) {
	names, err := os.ReadDir("/run/netns")
	if err != nil {
		return
	}
	for _, e := range names {
		if strings.HasPrefix(e.Name(), prefix) {
			run("", "ip", "netns", "del", e.Name())
		}
	}
}

// janitorMain waits for its standard input to end, which it does with the
// runner however that ends, and removes what may be left.
func janitorMain(prefix, dir string) {
	var b [1]byte
	for {
		if n, err := os.Stdin.Read(b[:]); n == 0 || err != nil {
			break
		}
	}
	removeNS(prefix)
	os.RemoveAll(dir)
}

// enterMain gives a daemon its own /etc and /run and becomes it.  It runs
// in the mount namespace that "ip netns exec" has made.
func enterMain(dir string, argv []string) error {
	over := filepath.Join(dir, "etc")
	if err := os.MkdirAll(over, 0o755); err != nil {
		return err
	}
	if err := mountFS("tmpfs", over, "mode=0755"); err != nil {
		return err
	}
	upper, work := filepath.Join(over, "upper"), filepath.Join(over, "work")
	for _, d := range []string{upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := mountFS("overlay", "/etc", "lowerdir=/etc,upperdir="+upper+",workdir="+work); err != nil {
		return err
	}
	if err := mountFS("tmpfs", "/run", "mode=0755"); err != nil {
		return err
	}
	return execve(argv)
}
