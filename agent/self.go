package agent

import (
	"go.uber.org/zap"

	"ordinal/internal/trust"
)

// self is who this process is and what it was told: the same for agent init and agent run.
type self struct {
	cfg    Config
	id     Identity
	peers  *Peers
	secret trust.Secret
	log    *zap.Logger
}

// newSelf checks the configuration and reads the secret. It changes nothing.
func newSelf(cfg Config, log *zap.Logger) (self, error) {
	if err := cfg.Validate(); err != nil {
		return self{}, err
	}
	id, err := cfg.Identity()
	if err != nil {
		return self{}, err
	}
	peers, err := NewPeers(id, cfg)
	if err != nil {
		return self{}, err
	}
	secret, err := trust.LoadSecret(cfg.SecretFile)
	if err != nil {
		return self{}, err
	}
	log = log.With(zap.String("pod", id.Pod), zap.String("role", string(id.Role())))
	return self{cfg: cfg, id: id, peers: peers, secret: secret, log: log}, nil
}

// serverConfig is the configuration of this pod's mysqld.
func (s self) serverConfig(dataDir string, hasData bool) serverConfig {
	return serverConfig{
		ServerID: s.id.ServerID(s.cfg.ServerIDBase), ReportHost: s.peers.Host(s.id.Ordinal), DataDir: dataDir, HasData: hasData,
		Semisync: s.cfg.Durability == DurabilitySemisync,
	}
}
