// Reads manifests as docker, containerd, crane and skopeo do: with Go's encoding/json into the structs of image-spec.
// In: one document a line, in base64. Out: one line of JSON each: whether it can be read, and all that it names.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
)

type platform struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
	Features     []string `json:"features,omitempty"`
}

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Data         []byte            `json:"data,omitempty"`
	Platform     *platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *descriptor       `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Manifests     []descriptor      `json:"manifests"`
	Blobs         []descriptor      `json:"blobs"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
	FSLayers      json.RawMessage   `json:"fsLayers,omitempty"`
	History       json.RawMessage   `json:"history,omitempty"`
	Signatures    json.RawMessage   `json:"signatures,omitempty"`
}

func names(all ...descriptor) []string {
	out := []string{}
	for _, each := range all {
		name := fmt.Sprintf("%s %d %s", each.Digest, each.Size, each.MediaType)
		if len(each.URLs) > 0 {
			name += " elsewhere"
		}
		out = append(out, name)
	}
	return out
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		bytes, err := base64.StdEncoding.DecodeString(in.Text())
		if err != nil {
			panic(err)
		}
		var read manifest
		answer := map[string]any{}
		if err := json.Unmarshal(bytes, &read); err != nil {
			answer["error"] = err.Error()
		} else {
			config, subject := []descriptor{}, []descriptor{}
			if read.Config != nil {
				config = append(config, *read.Config)
			}
			if read.Subject != nil {
				subject = append(subject, *read.Subject)
			}
			answer["schemaVersion"] = read.SchemaVersion
			answer["mediaType"] = read.MediaType
			answer["artifactType"] = read.ArtifactType
			answer["config"] = names(config...)
			answer["layers"] = names(read.Layers...)
			answer["manifests"] = names(read.Manifests...)
			answer["blobs"] = names(read.Blobs...)
			answer["subject"] = names(subject...)
			answer["annotations"] = read.Annotations
			answer["old"] = len(read.FSLayers) + len(read.History) + len(read.Signatures)
		}
		line, err := json.Marshal(answer)
		if err != nil {
			panic(err)
		}
		out.Write(append(line, '\n'))
	}
}
