package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed assets
var assetFiles embed.FS

// AssetPrefix is the path under which the assets are. They hold nothing of the gate and are open to
// everyone.
const AssetPrefix = "/ui/assets/"

// assets are the files that pages load. Their addresses have a hash of them all, so that a browser
// keeps them for ever and asks for new ones after an update; one hash for all, because modules name
// each other.
type assets struct {
	hash  string
	files map[string]*asset // by name, folders included
}

type asset struct {
	plain []byte
	kind  string
	// the file in gzip, made when it is first asked for; nil if that is not shorter
	compress func() []byte
}

func loadAssets() *assets {
	a := &assets{files: map[string]*asset{}}
	sum := sha256.New()
	root, err := fs.Sub(assetFiles, "assets")
	if err == nil {
		err = fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := fs.ReadFile(root, name)
			if err != nil {
				return err
			}
			sum.Write([]byte(name))
			sum.Write(text)
			a.files[name] = &asset{text, kindOf(name),
				sync.OnceValue(func() []byte { return compressed(text) })}
			return nil
		})
	}
	if err != nil {
		panic(err) // they are in the binary
	}
	a.hash = hex.EncodeToString(sum.Sum(nil)[:8])
	return a
}

// kindOf is fixed, because the tables that mime reads differ between machines.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(".txt")
}

func compressed(text []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is known
	w.Write(text)
	w.Close()
	if b.Len() >= len(text) {
		return nil
	}
	return b.Bytes()
}

// url is the address of an asset.
func (a *assets) url(name string) string {
	if a.files[name] == nil {
		panic("there is no asset " + name)
	}
	return AssetPrefix + a.hash + "/" + name
}

// Asset answers a file that pages load. One of another version is 404: the page that wants it is of
// another version too.
func (d *Dashboard) Asset(w http.ResponseWriter, r *http.Request) {
	hash, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, AssetPrefix), "/")
	file := d.assets.files[name]
	h := w.Header()
	secure(h)
	if file == nil || hash != d.assets.hash {
		http.Error(w, "there is no such file in this version", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", file.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := file.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		if short := file.compress(); short != nil {
			body = short
			h.Set("Content-Encoding", "gzip")
		}
	}
	w.WriteHeader(http.StatusOK)
	w.Write(body) // the reader may be gone
}
