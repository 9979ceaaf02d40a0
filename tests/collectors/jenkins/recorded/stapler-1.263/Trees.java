import java.io.*; import java.util.*;
import org.kohsuke.stapler.export.*;
public class Trees {
 @ExportedBean(defaultVisibility=2) public static class Last { @Exported public int getNumber(){return 3;} @Exported public String getUrl(){return "u";} }
 @ExportedBean(defaultVisibility=2) public static class Job { String n; Job(String n){this.n=n;} @Exported public String getName(){return n;} @Exported public String getColor(){return "blue";} }
 @ExportedBean(defaultVisibility=2) public static class Action { }
 @ExportedBean public static class Root {
  @Exported public String getName(){return "x";}
  @Exported public Last getLast(){return new Last();}
  @Exported public Last getNothing(){return null;}
  @Exported public List<Job> getJobs(){ var l=new ArrayList<Job>(); for (String s: "a b c d e f".split(" ")) l.add(new Job(s)); return l; }
  @Exported(visibility=1) public List<Object> getActions(){ return Arrays.asList(new Action(), null, new Last()); }
  @Exported public long getTimestamp(){return 1795316252762L;}
  @Exported public Map<String,Object> getMonitorData(){ var m=new TreeMap<String,Object>(); m.put("hudson.node_monitors.ArchitectureMonitor","Linux (amd64)"); m.put("hudson.node_monitors.Null",null); return m; }
  @Exported public String getText(){ return "quo\"te \\ / tab\t new\n ü \uD83D\uDE80 \u2028 <b> \u0001"; }
 }
 public static void main(String[] a) throws Exception {
  var in = new BufferedReader(new InputStreamReader(System.in, "UTF-8")); String tree;
  var out = new PrintStream(System.out, true, "UTF-8");
  while ((tree = in.readLine()) != null) {
   String line;
   try { var w = new StringWriter(); var m = new ModelBuilder().get(Root.class);
     TreePruner p = new NamedPathPruner(tree); var c = new ExportConfig().withFlavor(Flavor.JSON).withClassAttribute(ClassAttributeBehaviour.IF_NEEDED.simple());
     var d = Flavor.JSON.createDataWriter(new Root(), w, c); m.writeTo(new Root(), p, d); line = w.toString();
   } catch (IllegalArgumentException e) { line = "!" + e.getMessage(); } catch (Exception e) { line = "!!" + e; }
   out.println(tree + "\t" + line);
  } } }
