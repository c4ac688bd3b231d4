package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/adminapi"
	"github.com/hookgate/hookgate/certify"
	"github.com/hookgate/hookgate/internal/progress"
	"github.com/hookgate/hookgate/internal/show"
	"github.com/hookgate/hookgate/load"
)

type certifyOptions struct {
	connection
	phase, dir, profile, input, key, junit string
	source, path, api                      string
	subscription, listen                   string
	speed                                  float64
	canaryPercent                          int
	json, resume, exclusive                bool
	// numbers are the settings of a phase that flags give.
	numbers []func(*certify.Phase) error
}

func newCertifyCommand() *cobra.Command {
	var o certifyOptions
	cmd := &cobra.Command{
		Use:   "certify",
		Short: "Judge whether a running gate may go to production, with evidence",
		Long: `Send events to a gate as its senders would, read everything back, compare, and judge. This
is an outside client: it uses only HTTP, the read API and /metrics.

Phases: smoke (1,000 events), load (5,000, 10 at a time), full (30,000 at 500/s); "all"
runs these three. soak holds a rate for hours, ramp finds the highest rate that still
passes. deliver plays a consumer that fails on purpose, and judges how the gate delivers.
Separate several phases by commas. Set each number in a profile or by a flag; the flag
wins. --show-profile prints the profile.

Credentials come from WEBHOOK_HMAC_SECRET or WEBHOOK_BEARER_KEY and HOOKGATE_TOKEN, or
for a gate on this machine from its data directory.

The evidence folder has the verdict, report.html, and everything they are derived from.
hookgate evidence verify judges it again. See docs/guides/certify.md.

Exit code 0: PASS. 1: FAIL. 2: INVALID, or it could not run.`,
		Example: `  hookgate certify --phase smoke
  hookgate certify --target https://gate.example --phase all --evidence certified/2026-11 --key evidence.key
  hookgate certify --phase full --rate 1000 --p95 50
  hookgate certify --phase load --input recorded.ndjson --speed 10
  hookgate certify --phase smoke --exclusive=false --canary-percent 10
  hookgate certify --phase deliver
  hookgate certify --phase deliver --subscription certify`,
		Args: cobra.NoArgs,
	}
	o.register(cmd)
	f := cmd.Flags()
	f.StringVar(&o.api, "api", "",
		"base `URL` of the read and admin API and /metrics (default: --target)")
	f.StringVar(&o.phase, "phase", "all",
		"`phases` to run: all, smoke, load, full, soak, ramp, deliver; with --subscription, all "+
			"includes deliver")
	f.StringVar(&o.subscription, "subscription", "",
		"`name` of a push subscription to judge in the phase deliver; it must select test traffic "+
			"only, and its secret is SUBSCRIPTION_SECRET (default: a temporary pull subscription)")
	f.StringVar(&o.listen, "listen", "",
		"`address` to take the requests of --subscription on (default: the port of its URL)")
	f.StringVar(&o.dir, "evidence", "",
		"`folder` for the evidence, new or empty (default certified/TIME)")
	f.StringVar(&o.profile, "profile", "",
		"YAML `file` with numbers that differ from the default profile")
	f.StringVar(&o.input, "input", "",
		"`file` of recorded traffic to send instead (see hookgate replay record)")
	f.Float64Var(&o.speed, "speed", 0,
		"with --input: send this `factor` faster than recorded; 0 is the rate of the phase")
	f.StringVar(&o.key, "key", "",
		"`file` with the key that signs the evidence (default: EVIDENCE_KEY, or a new key)")
	f.StringVar(&o.source, "source", "",
		"`name` of the source to send to, of kind envelope (default: hookgate-certify, the "+
			"source of test traffic; under a canary: default)")
	f.StringVar(&o.path, "path", "", "`path` of that source (default /webhooks/SOURCE)")
	f.IntVar(&o.canaryPercent, "canary-percent", 100,
		"send only ordering keys that a canary at this `percentage` takes")
	f.BoolVar(&o.exclusive, "exclusive", true,
		"nobody else sends to the gate meanwhile; with =false events of others are ignored")
	f.StringVar(&o.junit, "junit", "", "`file` to write the criteria to, as JUnit XML")
	f.BoolVar(&o.json, "json", false, "print the verdict as JSON")
	f.BoolVar(&o.resume, "resume", false,
		"read back and judge what a killed certification has left in --evidence")
	showProfile := f.Bool("show-profile", false,
		"print the profile that would be used, and do nothing else")
	for _, n := range certify.Numbers {
		f.Func(n.Name, n.Usage, func(text string) error {
			o.numbers = append(o.numbers, func(p *certify.Phase) error { return n.Set(p, text) })
			return n.Set(&certify.Phase{}, text)
		})
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		profile, err := o.profileOf(cmd)
		if err != nil {
			return err
		}
		if *showProfile {
			return show.JSON(cmd.OutOrStdout(), profile)
		}
		return o.run(cmd, profile)
	}
	return cmd
}

// phases are the phases to run.
func (o *certifyOptions) phases() []string {
	all := "smoke,load,full"
	if o.subscription != "" {
		all += "," + certify.Deliver
	}
	return strings.Split(strings.ReplaceAll(o.phase, "all", all), ",")
}

// profileOf applies the file and then the flags to the default profile.
func (o *certifyOptions) profileOf(cmd *cobra.Command) (p certify.Profile, err error) {
	if p, err = certify.LoadProfile(o.profile); err != nil {
		return p, err
	}
	if o.source != "" {
		p.Source, p.Path = o.source, "/webhooks/"+o.source
	}
	if o.path != "" {
		p.Path = o.path
	}
	if cmd.Flags().Changed("exclusive") {
		p.Exclusive = o.exclusive
	}
	if cmd.Flags().Changed("canary-percent") {
		p.CanaryPercent = o.canaryPercent
	}
	p = p.OfShare()
	for _, name := range o.phases() {
		phase, ok := p.Phases[name]
		if !ok {
			continue // Run says so
		}
		for _, set := range o.numbers {
			if err := set(&phase); err != nil {
				return p, err
			}
		}
		if cmd.Flags().Changed("events") && !cmd.Flags().Changed("seconds") && name != certify.Ramp {
			phase.Seconds = 0
		}
		p.Phases[name] = phase
	}
	return p, p.Check()
}

func (o *certifyOptions) run(cmd *cobra.Command, profile certify.Profile) error {
	options := certify.Options{
		Target: o.target, API: o.api, Profile: profile, Input: o.input, Speed: o.speed, Dir: o.dir,
		Version: versionText(), Rules: roleRules(),
		Phases:       o.phases(),
		Subscription: o.subscription, Listen: o.listen,
		SubscriptionSecret: os.Getenv("SUBSCRIPTION_SECRET"),
	}
	if options.Dir == "" {
		options.Dir = "certified/" + time.Now().UTC().Format("20060102T150405Z")
	}
	var err error
	if options.Credentials, err = load.FindCredentials(os.Getenv, o.target, o.dataDir); err != nil {
		return err
	}
	if options.Token, err = o.token(); err != nil {
		return err
	}
	if path := cmp.Or(o.key, os.Getenv("EVIDENCE_KEY")); path != "" {
		if options.Key, err = certify.ReadKey(path); err != nil {
			return err
		}
	}
	bar := progress.New(cmd.ErrOrStderr(), 0)
	options.Progress = certifyProgress(bar)
	run := certify.Run
	if o.resume {
		run = certify.Resume
	}
	v, err := run(cmd.Context(), options)
	bar.Done()
	if err != nil {
		if !errors.Is(err, certify.ErrNotRun) {
			err = fmt.Errorf("%w (the evidence so far is in %s)", err, options.Dir)
		}
		return &exitError{exitNoResult, fmt.Errorf("certify: %w", err)}
	}
	if o.junit != "" {
		if err := certify.WriteJUnit(o.junit, v); err != nil {
			return err
		}
	}
	if o.json {
		err = show.JSON(cmd.OutOrStdout(), v)
	} else {
		err = v.WriteText(cmd.OutOrStdout(), options.Dir)
	}
	if err != nil {
		return err
	}
	switch v.Status {
	case certify.Pass:
		return nil
	case certify.Fail:
		return &exitError{exitFail, fmt.Errorf("the verdict is %s", v.Status)}
	}
	return &exitError{exitNoResult, fmt.Errorf("the verdict is %s", v.Status)}
}

// roleRules is the gate's own table of roles, in the types of certify.
func roleRules() (rules []certify.Rule) {
	for _, r := range adminapi.Matrix {
		rules = append(rules, certify.Rule{Method: r.Method, Path: r.Path, Probe: r.Probe, Body: r.Body,
			Status: map[string]int{
				"nobody": r.Status[adminapi.Nobody], "sender": r.Status[adminapi.Sender],
				"consumer": r.Status[adminapi.Consumer], "viewer": r.Status[adminapi.Viewer],
				"operator": r.Status[adminapi.Operator], "admin": r.Status[adminapi.Admin],
			}})
	}
	return rules
}

// certifyProgress shows how a certification goes.
func certifyProgress(bar *progress.Bar) func(certify.Progress) {
	return func(p certify.Progress) {
		total := int64(0)
		if p.Doing == certify.Sending {
			total = int64(p.Planned)
		}
		switch {
		case p.Begins:
			bar.Begin(total, p.String())
		case p.Doing == certify.Sending || p.Depth != nil:
			bar.Set(int64(p.Load.Lines), p.String())
		}
	}
}
