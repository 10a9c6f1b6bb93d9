package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A router that gives ports to its hosts when they ask (NAT-PMP, PCP, UPnP
// IGD): miniupnpd.

// mappedIP is the outside address of such a router: neither private nor one
// of the documentation's, which miniupnpd and its clients refuse.
const mappedIP = "5.0.0.1"

const mapperRules = `
table inet filter {
	chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
	chain miniupnpd { }
	chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
	chain postrouting { type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd; }
	chain prerouting_miniupnpd { }
	chain postrouting_miniupnpd { }
}
`

const mapperConfig = `ext_ifname=wan
ext_ip=%s
listening_ip=lan1
http_port=0
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
system_uptime=no
uuid=00000000-0000-4000-8000-000000000001
allow 1024-65535 10.%d.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`

func mapperProgram() (string, error) {
	if path := os.Getenv("MINIUPNPD"); path != "" {
		return path, nil
	}
	return exec.LookPath("miniupnpd")
}

// needsMapper says why there can be no such router here, "" if there can.
func needsMapper() string {
	if _, err := mapperProgram(); err != nil {
		return "no miniupnpd command in PATH, nor named by MINIUPNPD"
	}
	return ""
}

// useMappedIP gives the router the address that the rest of the internet
// sees, beside the one on the segment.
func (r *router) useMappedIP() {
	r.lab.must(run("", "ip", "-n", r.lab.inet.ns, "route", "add", mappedIP+"/32", "via", r.outside))
	r.lab.must(run("", inNS(r.lab.inet.ns, r.lab.t.runner.self, "forward")...))
	r.lab.must(run("", "ip", "-n", r.ns, "addr", "add", mappedIP+"/32", "dev", "wan"))
	r.outside = mappedIP
}

// startMapper runs miniupnpd for the router's first LAN.
func (r *router) startMapper() {
	l := r.lab
	l.must(run(mapperRules, inNS(r.ns, "nft", "-f", "-")...))
	conf := filepath.Join(l.dir, "miniupnpd.conf")
	l.must(os.WriteFile(conf, []byte(fmt.Sprintf(mapperConfig, mappedIP, r.number)), 0o644))
	program, err := mapperProgram()
	l.must(err)
	c, err := startChild("miniupnpd", filepath.Join(l.dir, "miniupnpd.log"),
		inNS(r.ns, program, "-d", "-f", conf, "-P", filepath.Join(l.dir, "miniupnpd.pid")))
	l.must(err)
	l.stops = append(l.stops, func() {
		c.cmd.Process.Kill()
		c.stop()
	})
	l.t.await(10*time.Second, "miniupnpd listens", func() bool {
		out, err := exec.Command("ip", "netns", "exec", r.ns, "ss", "-lun").Output()
		return err == nil && strings.Contains(string(out), ":5351") && strings.Contains(string(out), ":1900")
	})
}

var mappingRule = regexp.MustCompile(` dport (\d+) dnat ip to ([0-9.]+:\d+)`)

// mappings are the outside ports that are given away now, and what each
// leads to.
func (r *router) mappings() map[string]string {
	out, err := exec.Command("ip", "netns", "exec", r.ns, "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd").Output()
	r.lab.must(err)
	ports := map[string]string{}
	for _, m := range mappingRule.FindAllStringSubmatch(string(out), -1) {
		ports[m[1]] = m[2]
	}
	return ports
}

// hasMapping: the node at s, whose endpoints those are, has a port of its
// router's and says so.
func (s *site) hasMapping(endpoints []string) bool {
	for port, inner := range s.router.mappings() {
		if slices.Contains(endpoints, inner) && slices.Contains(endpoints, s.outside+":"+port) {
			return true
		}
	}
	return false
}
