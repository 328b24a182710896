// Package innodb knows as much of InnoDB's files as it takes to see whether they are
// sound: the flags of a tablespace, its page sizes, and the checksum that every
// page carries. The server's own CLONE does not look at it.
//
// It neither understands what pages mean nor repairs them. See refman/9.7
// innodb-file-space and innochecksum.
package innodb
