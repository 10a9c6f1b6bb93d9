// Command interop runs this project's tailscaled and tailscale, as
// processes in network namespaces of its own, against the reference
// implementation's control server, relay, STUN server and tsnet nodes.
//
// It is one program in several roles: the runner starts itself again in
// namespaces as servers, tsnet node or host helper.  See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	log.SetFlags(log.Lmicroseconds)
	role, args := "run", os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		role, args = args[0], args[1:]
	}
	var err error
	switch role {
	case "run":
		os.Exit(runMain(args))
	case "servers":
		serversMain(args)
	case "tsnet":
		err = tsnetMain(args)
	case "host":
		err = hostMain()
	case "wire":
		err = wireMain(args)
	case "forward":
		err = forwardMain()
	case "enter":
		err = enterMain(args[0], args[1:])
	case "janitor":
		janitorMain(args[0], args[1])
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serversMain serves a runner on standard input and output, or with -hold a
// person, until a signal comes.
func serversMain(args []string) {
	var o serverOptions
	fs := flag.NewFlagSet("servers", flag.ExitOnError)
	fs.StringVar(&o.IP, "listen", "127.0.0.1", "address of all servers")
	fs.IntVar(&o.ControlPort, "control-port", 0, "TCP port of the control server (0: any)")
	fs.IntVar(&o.TLSPort, "tls-port", 0, "TCP port of the control server over TLS (0: none)")
	fs.IntVar(&o.DERPPort, "derp-port", 0, "TCP port of the first relay (0: any)")
	fs.IntVar(&o.STUNPort, "stun-port", 0, "UDP port of the first STUN server (0: any)")
	fs.StringVar(&o.IPv6, "ipv6", "", "IPv6 address of the relays; all servers listen on every address then")
	fs.StringVar(&o.STUN2, "stun2", "", "IP:PORT of another STUN server, in a region without a relay")
	fs.IntVar(&o.Regions, "regions", 1, "number of relay regions")
	fs.StringVar(&o.AuthKey, "auth-key", "", "auth key required from every node")
	fs.BoolVar(&o.Interactive, "interactive", false, "every login needs a visit of its URL")
	fs.BoolVar(&o.Pin, "pin", false, "pin relay certificates by CertName instead of InsecureForTests")
	fs.IntVar(&o.FakeNodes, "fake-nodes", 0, "number of nodes that only the map knows")
	hold := fs.Bool("hold", false, "print addresses and stay until a signal")
	fs.Parse(args)

	s, err := startServers(o)
	if err != nil {
		log.Fatal(err)
	}
	if !*hold {
		if err := rpcServe(os.Stdin, os.Stdout, s.do); err != nil {
			log.Fatal(err)
		}
		return
	}
	dm, _ := json.MarshalIndent(s.control.DERPMap, "", "  ")
	fmt.Printf("control: %s\n", s.control.BaseURL())
	for id, r := range s.relays {
		fmt.Printf("relay %d: https://%s/derp (self-signed) STUN udp %s:%d key %s\n", id, r.http.addr,
			o.IP, s.control.DERPMap.Regions[id].Nodes[0].STUNPort, r.srv.PublicKey())
	}
	fmt.Printf("derp map:\n%s\n", dm)
	go rpcServe(os.Stdin, os.Stdout, s.do)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
}
