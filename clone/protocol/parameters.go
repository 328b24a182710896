package protocol

import (
	"strconv"
	"time"
)

// A Plugin is a plugin of the donor.
type Plugin struct {
	Name    string
	Library string // shared object; empty if built in (or, protocol 0x0100, unknown)
}

// Parameters are what the donor tells about itself before the copy. The caller
// compares: the donor checks nothing.
type Parameters struct {
	Negotiated uint32 // protocol version in use

	Version                string // of the server: "9.7.4"
	OS                     string // version_compile_os
	Machine                string // version_compile_machine
	PageSize               uint32 // innodb_page_size in bytes
	CharacterSet           string // character_set_server
	CharacterSetFilesystem string
	Collation              string // collation_server

	Plugins    []Plugin
	Collations []string          // every collation in use
	Config     map[string]string // all settings as sent, with the ones above

	// ReconnectWindow is how long the donor keeps the snapshot after a broken
	// connection. 0: not at all, or unknown (protocol before 0x0102).
	ReconnectWindow time.Duration
}

// parameters gathers the answers to INIT.
type parameters struct {
	Parameters
	locator Locator
	count   int
}

func (p *parameters) add(m any) error {
	if p.count++; p.count > maxParameters {
		return protocolError("more than %d parameters", maxParameters)
	}
	switch m := m.(type) {
	case locators:
		if p.Negotiated != 0 {
			return protocolError("two locators")
		}
		p.Negotiated, p.locator = m.version, m.locator
	case plugin:
		p.Plugins = append(p.Plugins, Plugin{m.name, m.library})
	case collation:
		p.Collations = append(p.Collations, string(m))
	case setting:
		if p.Config == nil {
			p.Config = map[string]string{}
		}
		p.Config[m.key] = m.value
	default:
		return protocolError("%T among the parameters", m)
	}
	return nil
}

// finish checks that everything needed is there.
func (p *parameters) finish(offered uint32) error {
	if p.Negotiated < 0x0100 || p.Negotiated > offered {
		return protocolError("protocol version %#x, offered %#x", p.Negotiated, offered)
	}
	for key, field := range map[string]*string{
		"version":                  &p.Version,
		"version_compile_os":       &p.OS,
		"version_compile_machine":  &p.Machine,
		"character_set_server":     &p.CharacterSet,
		"character_set_filesystem": &p.CharacterSetFilesystem,
		"collation_server":         &p.Collation,
	} {
		v, ok := p.Config[key]
		if !ok {
			return protocolError("parameter %s is missing", key)
		}
		*field = v
	}
	n, err := strconv.ParseUint(p.Config["innodb_page_size"], 10, 32)
	if err != nil || n < 4<<10 || n > 64<<10 || n&(n-1) != 0 {
		return protocolError("innodb_page_size is %q", p.Config["innodb_page_size"])
	}
	p.PageSize = uint32(n)
	if v, ok := p.Config["clone_donor_timeout_after_network_failure"]; ok {
		minutes, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return protocolError("clone_donor_timeout_after_network_failure is %q", v)
		}
		p.ReconnectWindow = time.Duration(minutes) * time.Minute
	}
	return nil
}
