{{/* Names and the pod that every workload shares. */}}

{{- define "ci-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "ci-exporter.fullname" -}}
{{- $name := include "ci-exporter.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "ci-exporter.selector" -}}
app.kubernetes.io/name: {{ include "ci-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ci-exporter.labels" -}}
{{ include "ci-exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "ci-exporter.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "ci-exporter.secret" -}}
{{- if .Values.secrets.existing -}}
{{ .Values.secrets.existing }}
{{- else if .Values.secrets.create -}}
{{ include "ci-exporter.fullname" . }}
{{- end }}
{{- end }}

{{/* config.yaml: what the user wrote, under what the chart decides. */}}
{{- define "ci-exporter.config" -}}
{{- if hasKey .Values.config "store" }}
{{- fail "config.store is the chart's business: set store.kind, store.retentionDays and, for PostgreSQL, the file store-url in the Secret" }}
{{- end }}
{{- range list "enabled" "addr" "health_addr" "admin_addr" "systemd_socket" "web_config_file" }}
{{- if hasKey ($.Values.config.metrics | default dict) . }}
{{- fail (printf "config.metrics.%s is the chart's business: the Service and the probes count on its ports; for TLS and passwords set web.secret" .) }}
{{- end }}
{{- end }}
{{- if and .Values.hooks.enabled (hasKey (.Values.config.hooks | default dict) "addr") }}
{{- fail "config.hooks.addr is the chart's business with hooks.enabled: the Service counts on port 9105" }}
{{- end }}
{{- $metrics := dict "enabled" false }}
{{- if eq .Values.mode "serve" }}
{{- $metrics = dict "enabled" true "addr" ":9101" "health_addr" ":9102" "admin_addr" "127.0.0.1:9103" }}
{{- end }}
{{- if .Values.web.secret }}
{{- $_ := set $metrics "web_config_file" "/etc/ci-exporter/web/web-config.yml" }}
{{- end }}
{{- $store := dict "retention_days" (int .Values.store.retentionDays) }}
{{- if eq .Values.store.kind "sqlite" }}
{{- $_ := set $store "url" "sqlite:////data/pipelines.db" }}
{{- else }}
{{- $_ := set $store "url_file" "/etc/ci-exporter/secrets/store-url" }}
{{- end }}
{{- $all := dict "metrics" $metrics "store" $store }}
{{- if and .Values.hooks.enabled (eq .Values.mode "serve") }}
{{- $_ := set $all "hooks" (dict "enabled" true "addr" ":9105") }}
{{- end }}
{{- mergeOverwrite (deepCopy .Values.config) $all | toYaml }}
{{- end }}

{{- define "ci-exporter.pod-metadata" -}}
labels:
  {{- include "ci-exporter.selector" . | nindent 2 }}
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
  {{- if .Values.secrets.create }}
  checksum/secret: {{ include (print $.Template.BasePath "/secret.yaml") . | sha256sum }}
  {{- end }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "ci-exporter.pod" -}}
serviceAccountName: {{ include "ci-exporter.fullname" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: 15   # it stops within 5
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
containers:
  - name: ci-exporter
    image: {{ include "ci-exporter.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      {{- if eq .Values.mode "serve" }}
      - serve
      {{- else }}
      - once
      {{- end }}
      - --config=/etc/ci-exporter/config/config.yaml
      {{- if eq .Values.mode "once" }}
      - --push={{ .Values.once.push }}
      {{- end }}
    env:
      # The image sets addresses for a container that stands alone; here config.yaml says them.
      - name: CI_EXPORTER__STORE__URL
        value: ""
      - name: CI_EXPORTER__METRICS__HEALTH_ADDR
        value: ""
      {{- with .Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- if eq .Values.mode "serve" }}
    ports:
      - name: metrics
        containerPort: 9101
      - name: health
        containerPort: 9102
      {{- if .Values.hooks.enabled }}
      - name: hooks
        containerPort: 9105
      {{- end }}
    # On a port of their own: plain HTTP without a password, whatever the metrics port asks for. None of them asks
    # the CI system.
    startupProbe:                   # a migration of a large database takes minutes
      httpGet: {path: /-/healthy, port: health}
      periodSeconds: 5
      timeoutSeconds: 4
      failureThreshold: 120
    livenessProbe:
      httpGet: {path: /-/healthy, port: health}
      periodSeconds: 15
      timeoutSeconds: 5
      failureThreshold: 4
    readinessProbe:
      httpGet: {path: /-/ready, port: health}
      periodSeconds: 10
      timeoutSeconds: 5
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    volumeMounts:
      - {name: config, mountPath: /etc/ci-exporter/config, readOnly: true}
      {{- if include "ci-exporter.secret" . }}
      - {name: secrets, mountPath: /etc/ci-exporter/secrets, readOnly: true}
      {{- end }}
      {{- if .Values.web.secret }}
      - {name: web, mountPath: /etc/ci-exporter/web, readOnly: true}
      {{- end }}
      - {name: data, mountPath: /data}
      - {name: tmp, mountPath: /tmp}
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "ci-exporter.fullname" . }}
  {{- with include "ci-exporter.secret" . }}
  - name: secrets
    secret:
      secretName: {{ . }}
      defaultMode: 0440
  {{- end }}
  {{- with .Values.web.secret }}
  - name: web
    secret:
      secretName: {{ . }}
      defaultMode: 0440
  {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if ne .Values.store.kind "sqlite" }}
  - name: data                      # nothing is kept in it
    emptyDir:
      sizeLimit: 64Mi
  {{- else if eq .Values.mode "once" }}
  - name: data
    persistentVolumeClaim:
      claimName: {{ include "ci-exporter.fullname" . }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ci-exporter.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .Values.store.sqlite.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.store.sqlite.size }}
{{- end }}
