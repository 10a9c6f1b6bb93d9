package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// What was written is audited after each test by the program that the lab
// uses, too: no secret, no sanitizer report, no core file.

var loginURL = regexp.MustCompile(`https?://\S+/auth/([\w-]+)`)

// auditInput is what the auditor reads on its standard input.
type auditInput struct {
	Secrets map[string]string `json:"secrets"`
	States  []string          `json:"states"`
	Outputs map[string]string `json:"outputs,omitempty"`
	Skip    []string          `json:"skip"`
}

// noteState remembers a state file as it is now, for the keys in it: a
// later login replaces them.
func (n *node) noteState() {
	b, err := os.ReadFile(filepath.Join(n.dir, "tailscaled.state"))
	if err != nil {
		return
	}
	l := n.lab
	l.seenMu.Lock()
	defer l.seenMu.Unlock()
	if l.states == nil {
		l.states = map[string]bool{}
	}
	l.states[string(b)] = true
}

// noteOutput keeps what the CLI said.
func (n *node) noteOutput(r cliResult) {
	l := n.lab
	l.seenMu.Lock()
	defer l.seenMu.Unlock()
	if l.outputs == nil {
		l.outputs = map[string]string{}
	}
	l.outputs[fmt.Sprintf("%s (%d)", n.name, len(l.outputs))] = r.out + r.err
}

// audit reports what the daemons and the CLI of this test should not have
// written.  It runs when the daemons have ended.
func (l *lab) audit() {
	in := auditInput{
		Secrets: map[string]string{"the auth key": authKey, "the wrong auth key": wrongKey},
		Outputs: l.outputs,
		Skip:    []string{"key"}, // a file of the test's own
	}
	for s := range l.states {
		in.States = append(in.States, s)
	}
	var folders, logs []string
	for _, n := range l.daemons {
		folders = append(folders, n.dir)
		logs = append(logs, filepath.Join(l.dir, n.name+".log"))
	}
	if len(folders) == 0 {
		return
	}
	l.runAudit(in, folders)
	// Whoever reads a log must not be able to finish somebody's login.
	for _, text := range l.outputs {
		for _, m := range loginURL.FindAllStringSubmatch(text, -1) {
			in.Secrets["the login "+m[1][:4]+"..."] = m[1]
		}
	}
	in.Outputs = nil
	l.runAudit(in, logs)
}

func (l *lab) runAudit(in auditInput, paths []string) {
	b, err := json.Marshal(in)
	l.must(err)
	cmd := exec.Command("python3", append([]string{os.Getenv("AUDIT")}, paths...)...)
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.fault("audit: %v: %s", err, strings.TrimSpace(string(out)))
	}
}
