package proto
import ( _ "google.golang.org/protobuf/proto"; _ "google.golang.org/protobuf/runtime/protoimpl"; _ "google.golang.org/protobuf/types/known/timestamppb")
