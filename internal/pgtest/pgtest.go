// Package pgtest starts real PostgreSQL and PgBouncer servers for tests. They use loopback ports
// and temporary folders, and a test may kill and restart them.
//
// A package starts one cluster and gives each of its tests a database:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Run(m)) }
//
//	c, err := pgtest.Shared()
//	name, err := c.NewDatabase(ctx)
//
// If the tests run as root, the servers run as the user postgres. Each server ends with the process
// that started it, even if that process is killed.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/hookgate/hookgate/internal/certtest"
)

// superuser is the superuser of a cluster, who needs no password. No schema may have this name,
// because it would be in the search path.
const superuser = "tester"

// startTime and stopTime bound the time that a server takes to start and to stop.
const startTime, stopTime = 3 * time.Minute, 3 * time.Minute

// Options are the options of a cluster. Zero fields have their defaults.
type Options struct {
	// Fsync makes commits wait for the disk. Without it they survive a crash of the server, which
	// is enough for most tests, but not a power cut.
	Fsync bool
	// TLS makes the server offer TLS, with a certificate of its own CA; see CAFile.
	TLS bool
	// Settings are more settings of the server, each name=value.
	Settings []string
}

// Cluster is a running PostgreSQL server with its data.
type Cluster struct {
	options   Options
	bin       string
	dir       string
	port      int
	files     certtest.Files // with Options.TLS
	process   *process
	databases atomic.Int64
	idle      chan string // databases that Recycle has emptied
	prepared  chan string // databases that ResetPrepared has reset
	// ready is the log line that says that the server takes connections.
	ready string
}

const (
	readyPrimary = "database system is ready to accept connections"
	readyStandby = "database system is ready to accept read-only connections"
)

// Start creates a cluster and starts its server.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := tempDir("hookgate-pg")
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	c := &Cluster{options: o, bin: bin, dir: dir, ready: readyPrimary, idle: make(chan string, 8),
		prepared: make(chan string, 8)}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if err := c.initialize(ctx); err != nil {
		return nil, err
	}
	if o.TLS {
		if err := c.makeCertificate(); err != nil {
			return nil, err
		}
	}
	return c, c.startAnywhere(ctx)
}

// startAnywhere starts the server on a free port.
func (c *Cluster) startAnywhere(ctx context.Context) (err error) {
	// Another program can take the port between the choice and the start.
	for range 3 {
		if c.port, err = freePort(); err != nil {
			return err
		}
		if err = c.Restart(ctx); err == nil {
			return nil
		}
	}
	return err
}

// makeCertificate creates a certificate for the server.
func (c *Cluster) makeCertificate() error {
	files, err := certtest.Make(c.dir)
	if err != nil {
		return err
	}
	c.files = files
	c.options.Settings = append(c.options.Settings, "ssl=on", "ssl_cert_file="+files.Cert,
		"ssl_key_file="+files.Key)
	for _, file := range []string{files.Cert, files.Key} {
		if err := give(file); err != nil {
			return fmt.Errorf("give the certificate to the server: %w", err)
		}
	}
	return nil
}

// CAFile returns the file with the CA that signed the server's certificate.
func (c *Cluster) CAFile() string { return c.files.CA }

// Restart starts the server again after Stop or Kill, with its old port and data.
func (c *Cluster) Restart(ctx context.Context) (err error) {
	args := []string{"-D", c.data(), "-p", strconv.Itoa(c.port), "-k", c.dir}
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1",
		"max_connections=200",
		"fsync=" + map[bool]string{false: "off", true: "on"}[c.options.Fsync],
		"full_page_writes=" + map[bool]string{false: "off", true: "on"}[c.options.Fsync],
		"dynamic_shared_memory_type=mmap", // which leaves nothing outside the folder
		"log_min_messages=log",
		"lc_messages=C",
	}, c.options.Settings...) {
		args = append(args, "-c", setting)
	}
	c.process, err = start(ctx, c.dir, c.ready, filepath.Join(c.bin, "postgres"), args...)
	return err
}

// Stop ends all sessions and stops the server. Restart starts it again.
func (c *Cluster) Stop() error { return c.process.stop(syscall.SIGINT) }

// Kill ends the server and its sessions as a power cut would. Restart starts it again.
func (c *Cluster) Kill() error { return c.process.kill() }

// PID returns the process id of the server. Its sessions and background processes are its children.
func (c *Cluster) PID() int { return c.process.cmd.Process.Pid }

// Close stops the server and removes its data.
func (c *Cluster) Close() error { return errors.Join(c.Stop(), os.RemoveAll(c.dir)) }

// URL returns the address of a database.
func (c *Cluster) URL(database string) string { return address(c.port, database) }

// TablesURL returns the address of a database for a session that finds the tables of a store by
// their plain names. The store itself must find them without this help.
func (c *Cluster) TablesURL(database string) string { return InSchema(c.URL(database), "hookgate") }

// InSchema returns url with the search path set to a schema.
func InSchema(url, schema string) string { return url + "&search_path=" + schema }

// NewDatabase returns the name of an empty database. Its default collation is that of a language,
// so code that must compare bytes has to ask for that.
func (c *Cluster) NewDatabase(ctx context.Context) (string, error) {
	select {
	case name := <-c.idle:
		return name, nil
	default:
		name := fmt.Sprintf("test%d", c.databases.Add(1))
		return name, c.create(ctx, name)
	}
}

// create copies template0. FILE_COPY is twice as fast as the default, which writes the copy to the
// log too.
func (c *Cluster) create(ctx context.Context, database string) error {
	err := c.Exec(ctx, "postgres", "CREATE DATABASE "+database+
		" TEMPLATE template0 STRATEGY FILE_COPY LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
	if err != nil {
		return fmt.Errorf("create database %s: %w", database, err)
	}
	return nil
}

// Recycle ends the sessions of a database and removes its tables, so that NewDatabase can return it
// again. That takes a tenth of the time of a new database.
func (c *Cluster) Recycle(ctx context.Context, database string) error {
	err := c.Exec(ctx, "postgres", "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"+
		" WHERE datname = '"+database+"'; ALTER DATABASE "+database+" RESET ALL")
	if err == nil {
		err = c.Exec(ctx, database, `DO $$ DECLARE name text; BEGIN
			FOR name IN SELECT nspname FROM pg_namespace
				WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
				EXECUTE format('DROP SCHEMA %I CASCADE', name);
			END LOOP;
			END $$;
			CREATE SCHEMA public AUTHORIZATION pg_database_owner; GRANT USAGE ON SCHEMA public TO PUBLIC`)
	}
	if err != nil {
		return fmt.Errorf("recycle database %s: %w", database, err)
	}
	select {
	case c.idle <- database:
	default: // enough are idle
	}
	return nil
}

// RequirePasswords makes the server demand a password for each TCP connection from now on. No user
// has one.
func (c *Cluster) RequirePasswords(ctx context.Context) error {
	rules := "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(c.data(), "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		return fmt.Errorf("require passwords: %w", err)
	}
	conn, err := pgx.Connect(ctx, c.URL("postgres")+"&host="+url.QueryEscape(c.dir))
	if err != nil {
		return fmt.Errorf("require passwords: %w", err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "SELECT pg_reload_conf()")
	return err
}

// Exec runs statements in a database as its superuser.
func (c *Cluster) Exec(ctx context.Context, database, statements string) error {
	conn, err := pgx.Connect(ctx, c.URL(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, statements).ReadAll()
	return err
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func address(port int, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Host: net.JoinHostPort("127.0.0.1",
		strconv.Itoa(port)), Path: database,
		RawQuery: "sslmode=disable"}
	return u.String()
}

// binaries returns the folder of the newest installed PostgreSQL.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", errors.New("there is no PostgreSQL under /usr/lib/postgresql: run make tools")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // a name that is not a number comes last
		return n
	}
	return filepath.Dir(slices.MaxFunc(found,
		func(a, b string) int { return version(a) - version(b) })), nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tempDir returns a new folder that the server may use.
func tempDir(name string) (string, error) {
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		return "", err
	}
	if err := give(dir); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// give makes the server's user the owner of a file or folder.
func give(path string) error {
	var attr syscall.SysProcAttr
	if err := asServer(&attr); err != nil || attr.Credential == nil {
		return err
	}
	return unix.Chown(path, int(attr.Credential.Uid), int(attr.Credential.Gid))
}
