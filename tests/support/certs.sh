#!/bin/bash
# certs.sh DIR: one CA and the leaves tests need (ECDSA P-256; RSA key for service-account tokens)
set -eu; mkdir -p "$1"; cd "$1"
ca() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key
  openssl req -x509 -new -key $1.key -sha256 -days 30 -subj "/CN=$1" -addext "basicConstraints=critical,CA:TRUE" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -out $1.crt 2>/dev/null; }
leaf() { # name subject SANs EKU
  openssl ecparam -name prime256v1 -genkey -noout -out $1.key; openssl req -new -key $1.key -subj "$2" -out $1.csr
  printf "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=$4\n${3:+subjectAltName=$3\n}" > $1.ext
  openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -sha256 -extfile $1.ext -out $1.crt 2>/dev/null
  rm $1.csr $1.ext; }
ca ca; ca other-ca
leaf server "/CN=hub" "DNS:localhost,IP:127.0.0.1" serverAuth
leaf client "/CN=collector-1/O=collectors" "URI:spiffe://test/collector/1" clientAuth
leaf admin "/O=system:masters/CN=admin" "" clientAuth
leaf apiserver "/CN=kube-apiserver" "DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.0.0.1,IP:10.89.0.1" serverAuth
openssl genrsa -out sa.key 2048 2>/dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
