package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shimward/shimward/event"
)

func TestEvents(t *testing.T) {
	config, paths := node(t)
	got := shimward(t, setup{}, "events", "--config", config)
	if got.code != 0 || !strings.Contains(got.stderr, "no guarded container has run") {
		t.Fatalf("without a store: %+v", got)
	}
	store := func(id string, events ...event.Event) {
		folder := paths.Events(id)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		var lines []byte
		for _, e := range events {
			line, err := event.Line(e)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line...)
		}
		if err := os.WriteFile(filepath.Join(folder, "events.jsonl"), lines, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	one := func(id string, ago time.Duration, kind event.Kind, severity event.Severity) event.Event {
		return event.Event{
			Schema: event.Schema, Time: now.Add(-ago), Kind: kind, Severity: severity,
			Message: id + " " + string(kind) + ".", Container: event.Container{ID: id, Namespace: "default"},
		}
	}
	store("first", one("first", 3*time.Hour, event.KindCreated, event.SeverityInfo), one("first", time.Minute, event.KindNotice, event.SeverityCritical))
	store("second", one("second", 2*time.Hour, event.KindCreated, event.SeverityInfo))

	for _, test := range []struct {
		args []string
		want string // the containers of the events shown
	}{
		{nil, "first second first"},
		{[]string{"--container", "second"}, "second"},
		{[]string{"--since", "150m"}, "second first"},
		{[]string{"--severity", "warning"}, "first"},
		{[]string{"--kind", "created"}, "first second"},
		{[]string{"--kind", "created", "--kind", "notice"}, "first second first"},
		{[]string{"--container", "nobody"}, ""},
	} {
		got := shimward(t, setup{}, append([]string{"events", "--config", config, "-o", "json"}, test.args...)...)
		var shown []string
		for line := range strings.Lines(got.stdout) {
			var e event.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			shown = append(shown, e.Container.ID)
		}
		if got.code != 0 || strings.Join(shown, " ") != test.want {
			t.Errorf("%v: exit status %d, %v; want %s", test.args, got.code, shown, test.want)
		}
	}
	for _, output := range []string{"text", "wide"} {
		got := shimward(t, setup{env: map[string]string{"SHIMWARD_CONFIG": config}}, "events", "-o", output)
		if got.code != 0 || strings.Count(got.stdout, "\n") != 3 || !strings.Contains(got.stdout, "second created.") {
			t.Errorf("-o %s: %+v", output, got)
		}
	}
}

// Following ends when it is canceled, and that is not an error.
func TestEventsFollow(t *testing.T) {
	config, paths := node(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, environment{
			args: []string{"shimward", "events", "--config", config, "-f", "-o", "json"}, stdout: write, stderr: os.Stderr,
			getenv: func(string) string { return "" },
		})
	}()
	line, err := event.Line(event.Event{
		Schema: event.Schema, Time: time.Now(), Kind: event.KindCreated, Severity: event.SeverityInfo,
		Container: event.Container{ID: "late", Namespace: "default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(paths.Events("late"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(paths.Events("late"), "events.jsonl"), line, 0o600); err != nil {
		t.Fatal(err)
	}
	var shown event.Event
	if err := json.NewDecoder(read).Decode(&shown); err != nil || shown.Container.ID != "late" {
		t.Errorf("got %+v, %v", shown, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
