// Package trust turns one cluster secret into everything that the pods of a set need in order to trust each other: a certificate authority
// for mutual TLS and the passwords of the agent's MySQL accounts. Whoever holds the secret is one of us; nobody else is.
//
// Nothing is stored and nothing is exchanged. Every pod derives the same keys:
//
//	stretched = PBKDF2-HMAC-SHA-512(secret, salt "ordinal cluster secret v1", 150000 rounds, 64 bytes)
//	key       = HKDF-Expand-SHA-512(stretched, info, length)
//
//	info "ordinal v1 certificate authority"        32 bytes   seed of the authority's Ed25519 key
//	info "ordinal v1 account agent"                20 bytes   password of the agent's account
//	info "ordinal v1 backup seal"                  32 bytes   key that backups and archives are sealed with
//	info "ordinal v1 account replication <id>"     20 bytes   password of the replication account of the cluster <id>
//
// A password is the unpadded base64url form of its 20 bytes followed by "-aA1": 31 characters with a digit, an upper-case letter, a lower-case letter
// and a special character, which satisfies validate_password at its MEDIUM policy, and MySQL's limit of 32 for replication passwords.
// See refman/8.4 validate-password and change-replication-source-to. The derivation never changes: another one would lock every cluster out.
//
// Every process signs its own certificate for its pod's name with that authority, keeps it in memory, and renews it in time. Pods of other sets that share the
// secret are told apart by the name: "mysql-2" belongs to the set "mysql". Tools that are no pod of the set carry the name "tool.mysql", see [ToolName].
//
// A secret is replaced by changing its file. A [Ring] follows the file and accepts the former secret for a time, so that no connection fails meanwhile:
// docs/adr/0010-a-secret-is-replaced-by-its-file.md.
//
// What the package does not do: revocation of a single pod. A leaked secret opens everything until it is replaced and no longer accepted.
package trust
