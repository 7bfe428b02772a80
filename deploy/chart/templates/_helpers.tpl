{{/* Where Gatekeeper is expected. */}}
{{- define "azpolicy.gatekeeperNamespace" -}}
gatekeeper-system
{{- end }}

{{- define "azpolicy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of most objects: the release's, with the chart's where that does not say it. Room is left for a suffix. */}}
{{- define "azpolicy.fullname" -}}
{{- $name := include "azpolicy.name" . }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "azpolicy.selectorLabels" -}}
app.kubernetes.io/name: {{ include "azpolicy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "azpolicy.labels" -}}
{{ include "azpolicy.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Name, namespace and labels of an object in the release's namespace; call with the root and a suffix. */}}
{{- define "azpolicy.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "azpolicy.fullname" $root }}{{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "azpolicy.labels" $root | nindent 2 }}
{{- end }}

{{- define "azpolicy.serviceAccountName" -}}
{{- default (ternary (include "azpolicy.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* The ConfigMaps of its own namespace that the operator keeps something in, as a JSON list: tests/deploy compares them with
the code. A new one is one more name here. */}}
{{- define "azpolicy.keptNames" -}}
{{- $names := list "azure-policy-sync-state" "azure-policy-sync-gatekeeper" }}
{{- /* The parts of a last good state that does not fit into one, in two sets that alternate. */}}
{{- range $set := list "a" "b" }}
{{- range $part := untilStep 1 45 1 }}{{ $names = append $names (printf "azure-policy-sync-state-%s%d" $set $part) }}{{ end }}
{{- end }}
{{- toJson $names }}
{{- end }}

{{- define "azpolicy.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* Where the page is served, empty if it is not: on loopback, unless a Service leads there. */}}
{{- define "azpolicy.pageListen" -}}
{{- if .Values.page.enabled }}{{ ternary "$(POD_IP)" "127.0.0.1" .Values.page.service.enabled }}:8081{{ end }}
{{- end }}

{{/* Whether the page is served to the cluster: text, empty for no. */}}
{{- define "azpolicy.pageService" -}}
{{- if and .Values.page.enabled .Values.page.service.enabled }}true{{ end }}
{{- end }}

{{/* Whether a snapshot is read instead of Azure: text, empty for no. */}}
{{- define "azpolicy.snapshot" -}}
{{- or .Values.snapshot.configMap .Values.snapshot.existingClaim | default "" }}
{{- end }}

{{/* How Azure is read as somebody: the credential's kind, empty where a snapshot is read. */}}
{{- define "azpolicy.credential" -}}
{{- if not (include "azpolicy.snapshot" .) }}{{ .Values.azure.credential }}{{ end }}
{{- end }}

{{- define "azpolicy.secretName" -}}
{{- default (printf "%s-azure" (include "azpolicy.fullname" .)) .Values.azure.existingSecret }}
{{- end }}

{{/* The TCP ports that the pods may reach, as a JSON list: the API server's own is behind its Service's 443. */}}
{{- define "azpolicy.egressPorts" -}}
{{- $ports := list }}
{{- range .Values.networkPolicy.egressPorts }}{{ $ports = append $ports (int .) }}{{ end }}
{{- range (lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes").ports }}
{{- $ports = append $ports (int .port) }}
{{- end }}
{{- uniq $ports | toJson }}
{{- end }}
