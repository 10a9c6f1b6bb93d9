// Command resolver asks the reference's DNS resolver, as a library, for the
// bench to compare with.
//
//	resolver write N      writes the questions, N of each kind, each with its
//	                      length before it as in DNS over TCP
//	resolver serve        is the upstream: prints its address, answers all
//	resolver ask UPSTREAM < questions
//	                      asks one after the other and prints for each kind
//	                      its name and the 50th and 99th percentile in us
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"tailscale.com/health"
	"tailscale.com/net/dns/resolver"
	"tailscale.com/net/netmon"
	"tailscale.com/net/tsdial"
	"tailscale.com/types/dnstype"
	"tailscale.com/util/dnsname"
	"tailscale.com/util/eventbus"
)

const peers = 1000

// kinds are asked in this order; dns_bench.c knows it too.
var kinds = []string{"a peer", "no such peer", "an address", "forwarded"}

func address(peer int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, 70, byte(peer >> 8), byte(peer)})
}

func question(kind, i int) dnsmessage.Question {
	q := dnsmessage.Question{Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	peer := i * 7919 % peers
	switch kind {
	case 0:
		q.Name = dnsmessage.MustNewName(fmt.Sprintf("n%d.mesh.example.", peer))
	case 1:
		q.Name = dnsmessage.MustNewName(fmt.Sprintf("x%d.mesh.example.", i))
	case 2:
		a := address(peer).As4()
		q.Name = dnsmessage.MustNewName(fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", a[3], a[2], a[1], a[0]))
		q.Type = dnsmessage.TypePTR
	case 3:
		q.Name = dnsmessage.MustNewName(fmt.Sprintf("h%d.public.example.", i))
	}
	return q
}

func write(n int) error {
	w := bufio.NewWriter(os.Stdout)
	for kind := range kinds {
		for i := range n {
			m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(i), RecursionDesired: true},
				Questions: []dnsmessage.Question{question(kind, i)}}
			b, err := m.Pack()
			if err != nil {
				return err
			}
			w.Write(binary.BigEndian.AppendUint16(nil, uint16(len(b))))
			w.Write(b)
		}
	}
	return w.Flush()
}

// serve answers every question with one address.
func serve() error {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(c.LocalAddr())
	in := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(in)
		if err != nil {
			return err
		}
		var m dnsmessage.Message
		if m.Unpack(in[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Header.Response, m.Header.RecursionAvailable = true, true
		m.Additionals = nil
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
		}}
		if b, err := m.Pack(); err == nil {
			c.WriteTo(b, from)
		}
	}
}

func fqdn(name string) dnsname.FQDN {
	f, err := dnsname.ToFQDN(name)
	if err != nil {
		log.Fatal(err)
	}
	return f
}

func newResolver(upstream string) (*resolver.Resolver, error) {
	quiet := func(string, ...any) {}
	bus := eventbus.New()
	dialer := tsdial.NewDialer(netmon.NewStatic())
	dialer.SetBus(bus)
	r := resolver.New(quiet, nil, dialer, health.NewTracker(bus), nil)
	c := resolver.Config{AcceptDNS: true, Hosts: map[dnsname.FQDN][]netip.Addr{}}
	c.Routes = map[dnsname.FQDN][]*dnstype.Resolver{".": {{Addr: upstream}}}
	c.LocalDomains = []dnsname.FQDN{fqdn("mesh.example")}
	for i := range 64 {
		c.LocalDomains = append(c.LocalDomains, fqdn(fmt.Sprintf("%d.100.in-addr.arpa", 64+i)))
	}
	for i := range peers {
		c.Hosts[fqdn(fmt.Sprintf("n%d.mesh.example", i))] = []netip.Addr{address(i)}
	}
	return r, r.SetConfig(c)
}

func read() ([][]byte, error) {
	var all [][]byte
	in := bufio.NewReader(os.Stdin)
	for {
		var size [2]byte
		if _, err := io.ReadFull(in, size[:]); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		all = append(all, b)
	}
}

func ask(upstream string) error {
	r, err := newResolver(upstream)
	if err != nil {
		return err
	}
	all, err := read()
	if err != nil {
		return err
	}
	from := netip.MustParseAddrPort("100.64.0.1:5353")
	n := len(all) / len(kinds)
	for kind, name := range kinds {
		want := byte(dnsmessage.RCodeSuccess)
		if kind == 1 {
			want = byte(dnsmessage.RCodeNameError)
		}
		took := make([]time.Duration, n)
		for i, q := range all[kind*n : (kind+1)*n] {
			start := time.Now()
			b, err := r.Query(context.Background(), q, "udp", from)
			took[i] = time.Since(start)
			if err != nil || len(b) < 12 || b[3]&15 != want {
				return fmt.Errorf("%s, question %d: %v, %x", name, i, err, b)
			}
		}
		slices.Sort(took)
		us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
		fmt.Printf("%s\t%.2f\t%.2f\n", name, us(took[n/2]), us(took[n*99/100]))
	}
	return nil
}

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "write":
		var n int
		if n, err = strconv.Atoi(os.Args[2]); err == nil {
			err = write(n)
		}
	case len(os.Args) == 2 && os.Args[1] == "serve":
		err = serve()
	case len(os.Args) == 3 && os.Args[1] == "ask":
		err = ask(os.Args[2])
	default:
		err = fmt.Errorf("usage: resolver write N | serve | ask UPSTREAM")
	}
	if err != nil {
		log.Fatal(err)
	}
}
